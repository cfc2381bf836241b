"""Memory and time of a step on accelerators that are not here, in as few pieces as fit into their memory."""

from collections.abc import Callable
from typing import NamedTuple

from bert_jax.parallel.compiled import Cost, TooLarge, compile_cost
from bert_jax.parallel.topologies import Chip
from bert_jax.train.programs import Program

Make = Callable[[int], Program]
"""The number of pieces into which each device cuts its rows, to the program of a step."""


class Fit(NamedTuple):
    """The cost of a step in the fewest pieces that fit.

    refused: bytes that it needs in the pieces asked for, if these do not fit.
    """

    pieces: int
    cost: Cost
    refused: float | None


def fit_memory(make: Make, pieces: int, rows: int, chip: Chip) -> Fit | TooLarge:
    """Compile a step, and while it does not fit again in more pieces.

    Args:
        make: makes the program.
        pieces: number of pieces to try first.
        rows: rows of a device, which must divide by the pieces.
        chip: kind of the devices.

    Returns:
        What fits, or by how much not even a single row in a piece does.
    """
    refused: TooLarge | None = None
    for tried in (number for number in range(pieces, rows + 1, pieces) if rows % number == 0):
        if refused is not None and tried < rows and _hopeless(refused, pieces, tried):
            continue
        try:
            cost = compile_cost(make(tried).lower("tpu"))
            if cost.memory > chip.memory:
                raise TooLarge(cost.memory, chip.memory)
        except TooLarge as error:
            refused = refused or error
            last = error
            continue
        return Fit(tried, cost, None if refused is None else refused.needed)
    return last


def _hopeless(refused: TooLarge, pieces: int, tried: int) -> bool:
    """True if even a step whose whole memory shrank with its pieces would not fit; saves minutes of compiling."""
    return refused.needed * pieces / tried > refused.limit


def ring_seconds(cost: Cost, devices: int, chip: Chip) -> float:
    """Time of the collectives at the published rate of the links: 2 (n - 1) / n of their bytes leave every device."""
    moved = sum(collective.bytes for collective in cost.collectives)
    return 2 * (devices - 1) / devices * moved / chip.link


def step_seconds(cost: Cost, devices: int, chip: Chip) -> float | None:
    """Estimated time of a step: XLA's cycles, then the collectives, without overlap; None if the clock is unknown."""
    return cost.cycles / chip.clock + ring_seconds(cost, devices, chip) if chip.clock else None
