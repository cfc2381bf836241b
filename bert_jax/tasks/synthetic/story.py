"""The corpus of the synthetic language: short coherent documents."""

from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError
from bert_jax.tasks.synthetic import claims, grammar
from bert_jax.tasks.synthetic import lexicon as lex
from bert_jax.tasks.synthetic.grammar import (
    agree,
    chance,
    number,
    pick,
    pick_two,
)


class Person(NamedTuple):
    """One of the two people whom a document is about."""

    name: str
    role: str


class Story(NamedTuple):
    """The constants of a document: a scene, a time, two people with the same pronoun, two things,
    and whether opinions are good."""

    scene: lex.Scene
    time: str
    cast: tuple[Person, Person]
    pronoun: str
    things: list[str]
    good: bool

    @property
    def setting(self) -> grammar.Setting:
        """The setting of general sentences."""
        return grammar.Setting([person.role for person in self.cast], self.things, [self.time])


def documents(num_documents: int, seed: int = 0) -> list[list[str]]:
    """Generate a corpus of documents, each a list of 6 to 12 sentences.

    Document i depends on (seed, i) alone, so a longer corpus begins with the shorter one.
    Words and punctuation are lower-case and separated by single spaces.

    Raises:
        InputError: the number of documents is negative.
    """
    if num_documents < 0:
        raise InputError(f"num_documents is {num_documents}; a corpus needs 0 or more documents")
    return [document(grammar.stream(seed, "documents", index)) for index in range(num_documents)]


def document(rng: np.random.Generator) -> list[str]:
    """Draw one document: an opening, then events, opinions and rules about the same people and things."""
    story = draw_story(rng)
    wanted = int(rng.integers(6, 12))
    sentences = [opening(rng, story)]
    while len(sentences) < wanted:
        sentences += pick(rng, BEATS)(rng, story)
    return [f"{sentence} ." for sentence in sentences]


def draw_story(rng: np.random.Generator) -> Story:
    """Draw a scene with its cast and things."""
    scene, pronoun = pick(rng, lex.SCENES), pick(rng, tuple(lex.NAMES))
    names, roles = pick_two(rng, lex.NAMES[pronoun]), pick_two(rng, scene.people)
    cast = Person(names[0], roles[0]), Person(names[1], roles[1])
    things = grammar.some(rng, grammar.things(scene), 2)
    return Story(scene, pick(rng, lex.TIMES), cast, pronoun, things, good=chance(rng, 0.5))


def mention(rng: np.random.Generator, story: Story) -> str:
    """Refer to one of the two people by name, pronoun, role, or name and role."""
    person = pick(rng, story.cast)
    return pick(rng, (person.name, story.pronoun, f"the {person.role}", f"{person.name} the {person.role}"))


def opening(rng: np.random.Generator, story: Story) -> str:
    """First sentence: the two people meet at the scene."""
    first, second = story.cast
    place = f"near the {story.scene.place}"
    return f"{first.name} the {first.role} and {second.name} the {second.role} meet {place} {story.time}"


def work(rng: np.random.Generator, story: Story) -> list[str]:
    """A person handles one of the things."""
    verb = agree(pick(rng, pick(rng, lex.HANDLING)), many=False)
    thing = grammar.join("the", grammar.quality(rng, lex.THING_QUALITIES, 0.7), pick(rng, story.things))
    return [grammar.join(story.time if chance(rng, 0.5) else "", mention(rng, story), verb, thing)]


def crowd(rng: np.random.Generator, story: Story) -> list[str]:
    """People with the roles of the cast at work."""
    return [" ".join(grammar.described(rng, story.setting).words)]


def exchange(rng: np.random.Generator, story: Story) -> list[str]:
    """One person gives the other a thing, followed by a paraphrase or by the new owner."""
    giver, taker = pick_two(rng, story.cast)
    use_name = chance(rng, 0.3)
    agent, recipient = (person.name if use_name else f"the {person.role}" for person in (giver, taker))
    told = grammar.event(rng, agent, recipient, story.setting)
    if chance(rng, 0.5):
        return [grammar.tell(rng, told), f"in other words {grammar.tell(rng, grammar.reworded(rng, told))}"]
    return [grammar.tell(rng, told), f"now {recipient} has the {grammar.reworded(rng, told).quality} {told.thing}"]


def verdict(rng: np.random.Generator, story: Story) -> list[str]:
    """An opinion and a fitting reaction."""
    said = grammar.opinion(rng, story.good, pick(rng, story.things), pick(rng, story.cast).name)
    reaction = f"so {mention(rng, story)} {agree(pick(rng, lex.JOY if story.good else lex.GLOOM), many=False)}"
    return [f"{said} , {reaction}"] if chance(rng, 0.7) else [said, reaction]


def surprise(rng: np.random.Generator, story: Story) -> list[str]:
    """A dangerous or delightful thing, and the reaction to it."""
    key = pick(rng, lex.DELIGHTS if story.good else lex.DANGERS)
    about = story.setting._replace(things=(*story.things, story.scene.place))
    return [grammar.sighting(rng, key, about), f"so {mention(rng, story)} {'dances' if story.good else 'runs away'}"]


def lesson(rng: np.random.Generator, story: Story) -> list[str]:
    """The category of one of the things."""
    thing = pick(rng, story.things)
    category = grammar.category(story.scene, thing)
    one = f"every {thing} is a kind of {category}"
    return [one if chance(rng, 0.5) else f"{number(thing, many=True)} are {number(category, many=True)}"]


def rule(rng: np.random.Generator, story: Story) -> list[str]:
    """A claim, and a second one that is entailed by it or not."""
    follows = chance(rng, 0.5)
    thing = pick(rng, story.things)
    premise, hypothesis = claims.draw(
        rng, follows, pick(rng, story.cast).role, thing, grammar.category(story.scene, thing)
    )
    return [premise, f"{'therefore' if follows else 'perhaps'} {hypothesis}"]


BEATS = (work, crowd, crowd, exchange, exchange, verdict, verdict, verdict, verdict, surprise, lesson, rule)
