"""Quantified claims and the entailment relation between them.

A claim states that every, some, no, or not every member of a group does something to one kind of
thing, or to any kind in its category. Entailment is computed from truth values instead of rules:
there are 256 possible worlds, and a claim entails another if the other is true in every world in
which the first is true.
"""

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np

from bert_jax.tasks.synthetic import lexicon as lex
from bert_jax.tasks.synthetic.grammar import (
    agree,
    join,
    number,
    pick,
    quality,
)

QUANTIFIERS = ("every", "some", "no", "not every")
ONE_KIND, ANY_KIND = 0b01, 0b11


class Claim(NamedTuple):
    """quantifier: one of QUANTIFIERS. narrow: only about people with a quality. broad: about the whole category."""

    quantifier: str
    narrow: bool
    broad: bool


CLAIMS = tuple(Claim(*fields) for fields in itertools.product(QUANTIFIERS, (False, True), (False, True)))


def is_true(claim: Claim, world: tuple[int, ...]) -> bool:
    """Evaluate a claim in a world of four people, of whom the first two have the quality.

    A person is a bit set of the things acted on: the one kind, and the rest of its category.
    """
    group = world[:2] if claim.narrow else world
    does = [bool(person & (ANY_KIND if claim.broad else ONE_KIND)) for person in group]
    return {"every": all(does), "some": any(does), "no": not any(does), "not every": not all(does)}[claim.quantifier]


@cache
def entails(premise: Claim, hypothesis: Claim) -> bool:
    """Return True if the hypothesis is true in every world in which the premise is true."""
    worlds = itertools.product(range(4), repeat=4)
    return all(is_true(hypothesis, world) for world in worlds if is_true(premise, world))


@cache
def questions() -> tuple[dict[bool, list[tuple[Claim, Claim]]], ...]:
    """Groups of (premise, hypothesis) with the same two quantifiers and the same changed words,
    split by entailment.

    Only groups with both answers are kept: in these neither the quantifiers nor the changed words
    determine the answer, but only the direction of the change together with the quantifier.
    """
    groups: dict[tuple[object, ...], dict[bool, list[tuple[Claim, Claim]]]] = {}
    for pair in itertools.product(CLAIMS, CLAIMS):
        premise, hypothesis = pair
        key = (*(claim.quantifier for claim in pair), premise[1] ^ hypothesis[1], premise[2] ^ hypothesis[2])
        groups.setdefault(key, {True: [], False: []})[entails(premise, hypothesis)].append(pair)
    return tuple(group for group in groups.values() if group[True] and group[False])


def draw(rng: np.random.Generator, follows: bool, person: str, kind: str, category: str) -> tuple[str, str]:
    """Draw a premise and a hypothesis that follows from it, or does not: `some old cook lifts pans`,
    `some cook lifts utensils`."""
    adjective = quality(rng, lex.PEOPLE_QUALITIES)
    verb = agree(pick(rng, pick(rng, lex.HANDLING)), many=False)

    def say(claim: Claim) -> str:
        who = join(claim.quantifier, adjective if claim.narrow else "", person)
        return f"{who} {verb} {number(category if claim.broad else kind, many=True)}"

    premise, hypothesis = pick(rng, pick(rng, questions())[follows])
    return say(premise), say(hypothesis)
