"""The corpus of the embedded language: short coherent documents."""

from typing import NamedTuple

import numpy as np

from bert_jax.data.controlled import claims, grammar
from bert_jax.data.controlled import lexicon as lex
from bert_jax.data.controlled.grammar import agree, chance, number, pick, pick_two
from bert_jax.errors import InputError


class Person(NamedTuple):
    """One of the two people whom a document is about."""

    name: str
    role: str
    pronoun: str


class Story(NamedTuple):
    """What a document is about: a scene, two people, two things, and a good or a bad day."""

    scene: lex.Scene
    cast: tuple[Person, Person]
    things: list[str]
    good: bool

    @property
    def roles(self) -> tuple[str, str]:
        """What the two people are called beside their names."""
        return self.cast[0].role, self.cast[1].role


def documents(num_documents: int, seed: int = 0) -> list[list[str]]:
    """A corpus of documents, each a list of 6 to 12 sentences.

    Document i depends on (seed, i) alone, so a longer corpus begins with the shorter one.
    Words and punctuation are lower-case and separated by single spaces.

    Raises InputError for a negative number of documents.
    """
    if num_documents < 0:
        raise InputError(f"num_documents is {num_documents}; a corpus needs 0 or more documents")
    return [document(grammar.stream(seed, "documents", index)) for index in range(num_documents)]


def document(rng: np.random.Generator) -> list[str]:
    """One document: an opening, then events, opinions and rules about the same people and things."""
    story = draw_story(rng)
    wanted = int(rng.integers(6, 12))
    sentences = [opening(rng, story)]
    while len(sentences) < wanted:
        sentences += pick(rng, BEATS)(rng, story)
    return [f"{sentence} ." for sentence in sentences]


def draw_story(rng: np.random.Generator) -> Story:
    """The scene and its people; one is a she and the other a he, so that a pronoun is never in doubt."""
    scene = pick(rng, lex.SCENES)
    roles = pick_two(rng, scene.people)
    first, second = (
        Person(pick(rng, lex.NAMES[pronoun]), role, pronoun)
        for pronoun, role in zip(pick_two(rng, tuple(lex.NAMES)), roles, strict=True)
    )
    return Story(scene, (first, second), grammar.some(rng, grammar.things(scene), 2), good=chance(rng, 0.5))


def mention(rng: np.random.Generator, person: Person) -> str:
    """A name, a pronoun, a role, or both."""
    forms = (person.name, person.pronoun, f"the {person.role}", f"{person.name} the {person.role}")
    return pick(rng, forms)


def opening(rng: np.random.Generator, story: Story) -> str:
    """Who meets where."""
    first, second = story.cast
    where = f"near the {story.scene.place} {pick(rng, lex.TIMES)}"
    return f"{first.name} the {first.role} and {second.name} the {second.role} meet {where}"


def work(rng: np.random.Generator, story: Story) -> list[str]:
    """Somebody handles one of the things."""
    verb = agree(pick(rng, pick(rng, lex.HANDLING)), many=False)
    thing = grammar.join("the", grammar.quality(rng, lex.THING_QUALITIES, 0.7), pick(rng, story.things))
    return [f"{pick(rng, TIME_OR_NOT)} {mention(rng, pick(rng, story.cast))} {verb} {thing}".strip()]


def crowd(rng: np.random.Generator, story: Story) -> list[str]:
    """People like the two at work."""
    return [" ".join(grammar.described(rng, story.roles, story.things).words)]


def exchange(rng: np.random.Generator, story: Story) -> list[str]:
    """One gives the other something. It is said again in other words, or who has it now."""
    giver, taker = pick_two(rng, story.cast)
    use_name = chance(rng, 0.3)
    agent, recipient = (person.name if use_name else f"the {person.role}" for person in (giver, taker))
    told = grammar.event(rng, agent, recipient, pick(rng, story.things))
    if chance(rng, 0.5):
        return [grammar.tell(rng, told), f"in other words {grammar.tell(rng, grammar.reworded(rng, told))}"]
    return [grammar.tell(rng, told), f"now {recipient} has the {grammar.reworded(rng, told).quality} {told.thing}"]


def verdict(rng: np.random.Generator, story: Story) -> list[str]:
    """An opinion and the reaction that fits it."""
    person = pick(rng, story.cast)
    said = grammar.opinion(rng, story.good, pick(rng, story.things), person.name)
    reaction = f"so {mention(rng, person)} {agree(pick(rng, lex.JOY if story.good else lex.GLOOM), many=False)}"
    return [f"{said} , {reaction}"] if chance(rng, 0.7) else [said, reaction]


def surprise(rng: np.random.Generator, story: Story) -> list[str]:
    """Something dangerous or delightful among the things, and what everyone does about it."""
    key = pick(rng, lex.DELIGHTS if story.good else lex.DANGERS)
    reaction = "everyone comes to enjoy" if story.good else "everyone runs away from"
    kinds = (*story.things, story.scene.place)
    return [grammar.sighting(rng, key, story.roles, kinds), f"{reaction} the {key}"]


def lesson(rng: np.random.Generator, story: Story) -> list[str]:
    """To which category one of the things belongs."""
    thing = pick(rng, story.things)
    category = grammar.category(story.scene, thing)
    one = f"every {thing} is a kind of {category}"
    return [one if chance(rng, 0.5) else f"{number(thing, many=True)} are {number(category, many=True)}"]


def rule(rng: np.random.Generator, story: Story) -> list[str]:
    """A claim, and one that follows from it, or may be true or false beside it."""
    follows = chance(rng, 0.5)
    thing = pick(rng, story.things)
    premise, hypothesis = claims.draw(rng, follows, pick(rng, story.roles), thing, grammar.category(story.scene, thing))
    return [premise, f"{'therefore' if follows else 'perhaps'} {hypothesis}"]


TIME_OR_NOT = ("",) * len(lex.TIMES) + lex.TIMES
BEATS = (work, crowd, crowd, exchange, exchange, verdict, verdict, verdict, verdict, surprise, surprise, lesson, rule)
