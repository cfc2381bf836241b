"""Memory, collectives and estimated cycles of a program that XLA has compiled for TPUs."""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.parallel.population import memory_needed

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"(ENTRY )?%([\w.-]+) \(")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%[\w.-]+ = (.*?) ([a-z][a-z-]*)\(")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_CALLED = re.compile(r"(?:body|to_apply|true_computation|false_computation)=%([\w.-]+)")
_CONDITION = re.compile(r"condition=%([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_BOUND = re.compile(r"= [su]32\[\]\S* constant\((\d+)\)")
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_TOO_LARGE = re.compile(r"RESOURCE_EXHAUSTED.*?\b([\d.]+)([KMGT])\b.*?\b([\d.]+)([KMGT])\b", re.DOTALL)
"""The bytes that are needed, then those that there are: XLA's messages differ in all else."""


class TooLarge(Exception):
    """A program does not fit into the memory of its devices. needed, limit: bytes of a device."""

    def __init__(self, needed: float, limit: float) -> None:
        super().__init__(f"needs {needed / 2**30:.1f} GiB of {limit / 2**30:.1f}")
        self.needed, self.limit = needed, limit


class Collective(NamedTuple):
    """A collective of a program. elements: the number of each dtype; bytes: of its result on one device."""

    kind: str
    elements: dict[str, int]
    bytes: int


class Cost(NamedTuple):
    """The cost of one run of a program, for one device.

    memory: bytes of arguments, results and intermediates. collectives: those of the program, each as often as it runs.
    cycles: XLA's own estimate. It leaves out gathers, sorts, scatters, scalar operations and collectives, and was never
    measured.
    """

    memory: int
    collectives: list[Collective]
    cycles: int


def compile_cost(lowered: jax.stages.Lowered) -> Cost:
    """Compile a program and read its cost.

    Raises:
        TooLarge: XLA refuses the program for its memory.
    """
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        found = _TOO_LARGE.search(str(error))
        if found is None:
            raise
        raise TooLarge(_bytes(found[1], found[2]), _bytes(found[3], found[4])) from None
    text = compiled.as_text()
    return Cost(memory_needed(compiled), *read_cost(text or ""))


def read_cost(text: str) -> tuple[list[Collective], int]:
    """The collectives and the cycles of a program, from the text of its optimised HLO."""
    computations, entry = defaultdict[str, list[str]](list), ""
    current = ""
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = head[2]
            entry = current if head[1] else entry
        elif line.startswith(" "):
            computations[current].append(line)
    cycles, collectives = 0, list[Collective]()
    for line, times in _executed(computations, entry):
        if found := _CYCLES.search(line):
            cycles += times * int(found[1])
        kind, op = _INSTRUCTION.match(line), ""
        op = kind[2].removesuffix("-start") if kind else ""
        if kind and op in COLLECTIVES:
            collectives += [_collective(op, kind[1])] * times
    return collectives, cycles


def _executed(computations: dict[str, list[str]], name: str, times: int = 1) -> Iterator[tuple[str, int]]:
    """The instructions of a computation and of those that it calls, and how often each is executed."""
    for line in computations.get(name, ()):
        found = _INSTRUCTION.match(line)
        if found and found[2] in ("while", "call", "conditional"):
            inner = times * _iterations(computations, line) if found[2] == "while" else times
            for called in _CALLED.findall(line):
                yield from _executed(computations, called, inner)
        else:
            yield line, times


def _iterations(computations: dict[str, list[str]], line: str) -> int:
    """Iterations of a loop: as XLA says, or else the largest constant of its condition, as loops count from 0 by 1."""
    if found := _TRIPS.search(line):
        return int(found[1])
    condition = _CONDITION.search(line)
    lines = computations.get(condition[1], []) if condition else []
    return max((int(bound) for each in lines for bound in _BOUND.findall(each)), default=1)


def _collective(kind: str, type_: str) -> Collective:
    elements: dict[str, int] = defaultdict(int)
    for dtype, sizes in _ARRAY.findall(type_):
        elements[dtype] += int(np.prod([int(size) for size in sizes.split(",") if size]))
    return Collective(kind, dict(elements), sum(_width(dtype) * count for dtype, count in elements.items()))


def _width(dtype: str) -> int:
    return 1 if dtype == "pred" else int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz")) // 8


def _bytes(number: str, unit: str) -> float:
    return float(number) * 1024.0 ** " KMGT".index(unit)
