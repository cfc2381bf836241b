"""Sentence generators of the synthetic language. All randomness comes from the generator passed in."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from bert_jax.tasks.synthetic import lexicon as lex

Item = TypeVar("Item")


def stream(seed: int, name: str, index: int = 0) -> np.random.Generator:
    """Return the random generator of a named, numbered stream, the same on every platform and in every process."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), index])


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """Draw one of `items` uniformly."""
    return items[int(rng.integers(len(items)))]


def some(rng: np.random.Generator, items: Sequence[Item], count: int) -> list[Item]:
    """Draw `count` different items, in random order."""
    return [items[int(place)] for place in rng.permutation(len(items))[:count]]


def pick_two(rng: np.random.Generator, items: Sequence[Item]) -> tuple[Item, Item]:
    """Draw two different items, in random order."""
    first, second = some(rng, items, 2)
    return first, second


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the given probability."""
    return bool(rng.random() < probability)


def join(*parts: str) -> str:
    """Join the non-empty parts with single spaces.

    >>> join("at noon", "", "the baker")
    'at noon the baker'
    """
    return " ".join(part for part in parts if part)


def number(word: str, many: bool) -> str:
    """Inflect a noun for singular or plural.

    >>> number("baker", many=True)
    'bakers'
    """
    return word + "s" if many else word


def agree(verb: str, many: bool) -> str:
    """Inflect a verb in the present tense for a singular or plural subject.

    >>> agree("lift", many=False)
    'lifts'
    """
    return verb if many else verb + "s"


def things(scene: lex.Scene) -> list[str]:
    """List all kinds of things in a scene."""
    return [kind for kinds in scene.kinds.values() for kind in kinds]


def category(scene: lex.Scene, thing: str) -> str:
    """Return the category of the scene that a kind of thing belongs to."""
    return next(name for name, kinds in scene.kinds.items() if thing in kinds)


def quality(rng: np.random.Generator, table: Sequence[tuple[str, str]], probability: float = 1.0) -> str:
    """Draw an adjective of the table with the given probability, else return an empty string."""
    return pick(rng, pick(rng, table)) if chance(rng, probability) else ""


class Setting(NamedTuple):
    """The people, things and times that sentences may mention."""

    people: Sequence[str]
    things: Sequence[str]
    times: Sequence[str]


def setting(scene: lex.Scene) -> Setting:
    """Return the setting with everything in a scene."""
    return Setting(scene.people, things(scene), lex.TIMES)


class Described(NamedTuple):
    """A sentence as words, with the indices of its subject noun and its verb."""

    words: list[str]
    subject: int
    verb: int


def described(rng: np.random.Generator, about: Setting, agreeing: bool = True) -> Described:
    """`the calm bakers near the pan lift the heavy kettles`, `the baker whom the cooks need lifts the pan`.

    The grammatical numbers of all nouns are independent, and every verb agrees with its subject; unless
    `agreeing`, one of the verbs has the wrong number.
    """
    many, inner_many, object_many = (chance(rng, 0.5) for _ in range(3))
    near, thing = pick_two(rng, about.things)
    subject, inner_subject = pick_two(rng, about.people)
    nested = chance(rng, 0.5)
    outer_right, inner_right = (agreeing, True) if not nested or chance(rng, 0.5) else (True, agreeing)
    head = join("the", quality(rng, lex.PEOPLE_QUALITIES, 0.3), number(subject, many)).split()
    between = ["near", "the", number(near, inner_many)]
    if nested:
        inner_verb = agree(pick(rng, pick(rng, lex.HANDLING)), inner_many == inner_right)
        between = ["whom", "the", number(inner_subject, inner_many), inner_verb]
    verb = agree(pick(rng, pick(rng, lex.HANDLING)), many == outer_right)
    rest = join("the", quality(rng, lex.THING_QUALITIES, 0.3), number(thing, object_many)).split()
    return Described([*head, *between, verb, *rest], len(head) - 1, len(head) + len(between))


class Event(NamedTuple):
    """A transfer of a thing between two people. Agent and recipient are noun phrases; the others are words.
    The time may be empty."""

    agent: str
    verb: str
    quality: str
    thing: str
    recipient: str
    time: str


def event(rng: np.random.Generator, agent: str, recipient: str, about: Setting) -> Event:
    """Draw an event between two people with one of the things."""
    verb, thing = pick(rng, pick(rng, lex.TRANSFER)), pick(rng, about.things)
    return Event(agent, verb, quality(rng, lex.THING_QUALITIES), thing, recipient, pick(rng, about.times))


def tell(rng: np.random.Generator, told: Event) -> str:
    """Express an event in one of four constructions with the same meaning."""
    verb, thing = agree(told.verb, many=False), join("the", told.quality, told.thing)
    clauses = (
        f"{told.agent} {verb} {thing} to {told.recipient}",
        f"it is {told.agent} who {verb} {thing} to {told.recipient}",
        f"it is {thing} that {told.agent} {verb} to {told.recipient}",
        f"it is to {told.recipient} that {told.agent} {verb} {thing}",
    )
    return join(pick(rng, clauses), told.time)


def reworded(rng: np.random.Generator, told: Event) -> Event:
    """Replace the verb and the adjective of an event by their synonyms, each with probability 1/2."""
    verb = lex.SYNONYM[told.verb] if chance(rng, 0.5) else told.verb
    adjective = lex.SYNONYM[told.quality] if chance(rng, 0.5) else told.quality
    return told._replace(verb=verb, quality=adjective)


def another(rng: np.random.Generator, word: str, table: Sequence[tuple[str, str]]) -> str:
    """Draw a word of the table with another meaning."""
    return pick(rng, pick(rng, [pair for pair in table if word not in pair]))


def exchanged(told: Event) -> Event:
    """The event with giver and taker exchanged."""
    return told._replace(agent=told.recipient, recipient=told.agent)


def opinion(rng: np.random.Generator, good: bool, thing: str, person: str) -> str:
    """Draw a judgement on a thing: `it is not true that the soup is very good`.

    Two negations can reverse the adjective: one beside it, always with probability 1/2, and
    one before the whole statement. A third, in a relative clause, has no effect. Hence neither
    the adjective nor a negation alone determines whether the judgement is good.
    """
    frame, outer = pick(rng, lex.FRAMES) if chance(rng, 0.3) else ("", False)
    inner = chance(rng, 0.5)
    aside = ""
    if chance(rng, 0.15):
        verb = pick(rng, pick(rng, lex.HANDLING))
        aside = f"that {person} " + (f"does not {verb}" if chance(rng, 0.5) else agree(verb, many=False))
    negation = pick(rng, lex.NEGATIONS) if inner else ""
    degree = pick(rng, lex.DEGREES) if chance(rng, 0.3) else ""
    adjective = pick(rng, lex.GOOD if good ^ inner ^ outer else lex.BAD)
    return join(frame, "the", thing, aside, "is", negation, degree, adjective)


def sighting(rng: np.random.Generator, key: str, about: Setting) -> str:
    """Draw two neutral clauses about `key` and three of the things, in random order.

    `the cook lifts the heavy pan near the storm while the calm waiter wants the pie near the soup`
    """
    nouns = some(rng, about.things, 3)
    nouns.insert(int(rng.integers(4)), key)
    clauses = []
    for thing, near in (nouns[:2], nouns[2:]):
        subject = join("the", quality(rng, lex.PEOPLE_QUALITIES, 0.5), pick(rng, about.people))
        verb = agree(pick(rng, pick(rng, lex.HANDLING)), many=False)
        clauses.append(f"{subject} {verb} the {thing} near the {near}")
    return f"{clauses[0]} {pick(rng, ('while', 'and'))} {clauses[1]}"
