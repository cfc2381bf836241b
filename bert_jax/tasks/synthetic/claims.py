"""Quantified claims, and which follow from which.

A claim says that every, some, no, or not every member of a group does something to one kind of
things, or to any kind of its category. What follows is computed from the meaning and not from
rules: there are 256 possible worlds, and a claim entails another where that one is true in
every world in which the first is.
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
    """quantifier: one of QUANTIFIERS. narrow: only of the people with a quality. broad: about the category."""

    quantifier: str
    narrow: bool
    broad: bool


CLAIMS = tuple(Claim(*fields) for fields in itertools.product(QUANTIFIERS, (False, True), (False, True)))


def is_true(claim: Claim, world: tuple[int, ...]) -> bool:
    """Whether the claim holds in a world of four people, of whom the first two have the quality.

    A person is the set of kinds that they do it to, as bits: the one kind, and the rest of its category.
    """
    group = world[:2] if claim.narrow else world
    does = [bool(person & (ANY_KIND if claim.broad else ONE_KIND)) for person in group]
    return {"every": all(does), "some": any(does), "no": not any(does), "not every": not all(does)}[claim.quantifier]


@cache
def entails(premise: Claim, hypothesis: Claim) -> bool:
    """Whether the hypothesis is true in every world in which the premise is."""
    worlds = itertools.product(range(4), repeat=4)
    return all(is_true(hypothesis, world) for world in worlds if is_true(premise, world))


@cache
def questions() -> tuple[dict[bool, list[tuple[Claim, Claim]]], ...]:
    """Groups of (premise, hypothesis) with the same two quantifiers and the same words changed
    between them, split by entailment.

    Only groups in which it goes both ways: there neither the quantifiers nor the words that
    differ give the answer, but only the direction of the change together with the quantifier.
    """
    groups: dict[tuple[object, ...], dict[bool, list[tuple[Claim, Claim]]]] = {}
    for pair in itertools.product(CLAIMS, CLAIMS):
        premise, hypothesis = pair
        key = (*(claim.quantifier for claim in pair), premise[1] ^ hypothesis[1], premise[2] ^ hypothesis[2])
        groups.setdefault(key, {True: [], False: []})[entails(premise, hypothesis)].append(pair)
    return tuple(group for group in groups.values() if group[True] and group[False])


def draw(rng: np.random.Generator, follows: bool, person: str, kind: str, category: str) -> tuple[str, str]:
    """A premise and a hypothesis that follows from it, or does not: `some old cook lifts pans`,
    `some cook lifts utensils`."""
    adjective = quality(rng, lex.PEOPLE_QUALITIES)
    verb = agree(pick(rng, pick(rng, lex.HANDLING)), many=False)

    def say(claim: Claim) -> str:
        who = join(claim.quantifier, adjective if claim.narrow else "", person)
        return f"{who} {verb} {number(category if claim.broad else kind, many=True)}"

    premise, hypothesis = pick(rng, pick(rng, questions())[follows])
    return say(premise), say(hypothesis)
