"""Say what a pretraining takes on accelerators that are not here: memory, collectives, and an estimate of its time.

Its own step is compiled by XLA for the chips, which takes minutes of a CPU and no chip. It takes the settings of
`experiments.pretrain`:

python -m experiments.plan base --topology v5e:16x16 --pretrain.batch-size 4096
"""

import dataclasses
import math
from typing import NamedTuple

from bert_jax.config import BertConfig
from bert_jax.data.objectives import make_objectives
from bert_jax.errors import InputError
from bert_jax.parallel.compiled import Cost, TooLarge
from bert_jax.parallel.population import lay_out
from bert_jax.parallel.topologies import CHIPS, LIKE_A_GPU, Topology, find_topology, stay_on_cpu
from bert_jax.tokenizers.tokenizer import load_tokenizer
from bert_jax.train import throughput
from bert_jax.train.pretrain import bert_config, check
from bert_jax.train.programs import Program, pretraining
from bert_jax.train.step_cost import Fit, fit_memory, ring_seconds, step_seconds
from experiments.cli import named, run
from experiments.settings.plan import Plan
from experiments.settings.pretraining import PretrainRun

GUESSED = """
Nothing was run. Memory and collectives are those of the compiled program. The time is an estimate that was never
compared with a measured one: XLA's cycles leave out gathers, sorts and scalar operations; the clock and the rate of
the links are those of the data sheets; collectives are taken not to overlap with anything; loading data, evaluating and
saving are left out."""
OF_GPUS = f"""
Nothing was run, and there is no compiler for GPUs here. The program was lowered for them, with plain attention. Memory
and collectives are those of the same step compiled for TPUs ({LIKE_A_GPU}); XLA's compiler for GPUs may need more
memory or less, and cut the collectives otherwise. The time is unknown: the hours are those at an assumed MFU."""


class Phase(NamedTuple):
    """Steps of one shape. rows: examples of a step and run."""

    first: int
    last: int
    rows: int
    length: int


def main(config: Plan) -> None:
    """Print the plan of each phase of a run, and the hours of all steps.

    Raises:
        InputError: the topology is unknown, the devices cannot share a batch, or no division of it fits into memory.
    """
    if not config.topology:
        raise InputError(f"--topology is missing: v5e:16x16, h100:8, or another layout of {', '.join(CHIPS)}")
    stay_on_cpu()
    topology = find_topology(config.topology)
    compiler = topology if topology.compiles else find_topology(LIKE_A_GPU)
    size = load_tokenizer(config.corpus).vocab_size if config.corpus else config.vocab_size
    bert = bert_config(config.pretrain, size)
    if config.seeds == 1:
        check(config.pretrain, topology.devices)
    number, runs = len(topology.devices), f"{config.seeds} runs of " if config.seeds > 1 else ""
    print(
        f"{topology.name}: {number} x {topology.chip.kind}; {runs}{config.pretrain.preset}, "
        f"{size:,} tokens in the vocabulary"
    )
    seconds = [_plan(config, bert, topology, compiler, phase) for phase in _phases(config)]
    if len(seconds) > 1 and all(seconds):
        print(f"all steps    {sum(seconds) / 3600:,.1f} h, an estimate")
    print(GUESSED if topology.compiles else OF_GPUS)


def _phases(config: Plan) -> list[Phase]:
    pretrain = config.pretrain
    boundary = pretrain.steps - pretrain.long.steps
    phases = (
        Phase(0, boundary, pretrain.batch_size, pretrain.max_length),
        Phase(boundary, pretrain.steps, pretrain.long.batch_size, pretrain.long.max_length),
    )
    return [phase for phase in phases if phase.first < phase.last]


def _plan(config: Plan, bert: BertConfig, topology: Topology, compiler: Topology, phase: Phase) -> float:
    """Print the plan of a phase; returns its seconds, or 0 if they are unknown."""
    number, pretrain, runs = len(topology.devices), config.pretrain, config.seeds
    each = phase.rows // number if runs == 1 else phase.rows
    print(
        f"\nsteps {phase.first + 1:,} to {phase.last:,}: {phase.rows:,} x {phase.length} tokens a step"
        f"{' and run' if runs > 1 else f', {each} sequences a device'}"
    )

    def make(pieces: int, place: Topology = compiler) -> Program:
        rows = each * len(place.devices) if runs == 1 else phase.rows
        changed = dataclasses.replace(pretrain, accumulate=pieces)
        return pretraining(changed, bert, place.devices, rows, phase.length, runs)

    found = fit_memory(make, pretrain.accumulate, each, topology.chip)
    if isinstance(found, TooLarge):
        raise InputError(
            f"--topology {topology.name}: one sequence at a time {found}; take devices with more memory, "
            "or give --pretrain.compute.remat"
        )
    state = make(found.pieces).state_bytes / (1 if runs == 1 else lay_out(compiler.devices, runs, runs).groups)
    for line in _memory(found, state, topology, pretrain.accumulate, each * (number if runs == 1 else 1)):
        print(line)
    print(f"collectives  {_collectives(found.cost) or 'none'}")
    slots = make_objectives(pretrain.objective)[0].num_slots(phase.length)
    flops = runs * phase.rows * throughput.flops_per_sequence(bert, phase.length, slots)
    steps = phase.last - phase.first
    taken = step_seconds(found.cost, number, topology.chip) if topology.compiles else None
    if not topology.compiles:
        make(found.pieces, topology).lower(topology.chip.platform)
    if taken is None:
        _print_hours(flops, steps, topology)
        return 0.0
    used = throughput.mfu(flops / taken, topology.chip.kind, number) or math.nan
    ring = ring_seconds(found.cost, number, topology.chip)
    print(
        f"step         {1e3 * taken:,.1f} ms = {1e3 * (taken - ring):,.1f} (XLA's cycles) + {1e3 * ring:,.1f} (links)"
    )
    print(
        f"estimate     MFU {used:.0%}, {runs * phase.rows * phase.length / taken:,.0f} tokens/s, "
        f"{steps:,} steps in {steps * taken / 3600:,.1f} h"
    )
    return steps * taken


def _memory(found: Fit, state: float, topology: Topology, asked: int, rows: int) -> list[str]:
    """Lines on the memory. rows: of a step, all devices together."""
    limit, lines = topology.chip.memory / 1e9, []
    if found.refused is not None:
        largest = rows * asked // found.pieces
        lines = [
            f"memory       {found.refused / 1e9:.1f} GB of {limit:.0f} GB a device: does not fit. These do: a batch of "
            f"{largest:,}, or --pretrain.accumulate {found.pieces}; what follows is of the latter"
        ]
    about = "" if topology.compiles else "about "
    rest = found.cost.memory - state
    return [
        *lines,
        f"memory       {about}{found.cost.memory / 1e9:.2f} GB of {limit:.0f} GB a device: fits "
        f"(state {state / 1e9:.2f}, the rest {rest / 1e9:.2f})",
    ]


def _collectives(cost: Cost) -> str:
    kinds = sorted({collective.kind for collective in cost.collectives})
    of_kind = [[each.bytes for each in cost.collectives if each.kind == kind] for kind in kinds]
    return ", ".join(
        f"{len(sizes)} {kind}{'s' if len(sizes) > 1 else ''}, {sum(sizes) / 1e6:,.1f} MB a step and device"
        for kind, sizes in zip(kinds, of_kind, strict=True)
    )


def _print_hours(flops: float, steps: int, topology: Topology) -> None:
    peak = throughput.peak_flops(topology.chip.kind)
    if peak is None:
        raise InputError(f"--topology {topology.name}: the peak of {topology.chip.kind} is unknown")
    hours = flops * steps / (peak * len(topology.devices)) / 3600
    print(
        "step         unknown; "
        + ", ".join(f"{hours / used:,.1f} h at an MFU of {used:.0%}" for used in (0.3, 0.4, 0.5))
    )


if __name__ == "__main__":
    configs = {name: (text, Plan(**vars(config))) for name, (text, config) in named(PretrainRun).items()}
    run(main, configs)
