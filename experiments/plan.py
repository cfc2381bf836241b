"""Say what a training takes on accelerators that are not here: memory, collectives, and an estimate of its time.

Its own step is compiled by XLA for the chips, which takes minutes of a CPU and no chip. It takes the settings of
`experiments.pretrain`, or those of a fine-tuning:

python -m experiments.plan base --topology v5e:16x16 --pretrain.batch-size 4096
python -m experiments.plan finetune --encoder base --topology v5e:2x4 --together 8
"""

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bert_jax.checkpoints.directory import read_config, resolve
from bert_jax.config import PRESETS, preset
from bert_jax.data.objectives import make_objectives
from bert_jax.errors import InputError
from bert_jax.model import readout as readouts
from bert_jax.parallel.compiled import Cost, TooLarge
from bert_jax.parallel.devices import Devices, check_batch_size
from bert_jax.parallel.population import Layout, lay_out, runs_alike
from bert_jax.parallel.topologies import CHIPS, LIKE_A_GPU, Topology, find_topology, stay_on_cpu
from bert_jax.tokenizers.tokenizer import load_tokenizer
from bert_jax.train import throughput
from bert_jax.train.pretrain import bert_config, check
from bert_jax.train.programs import Program, finetuning, pretraining
from bert_jax.train.step_cost import Fit, fit_memory, ring_seconds, step_seconds
from bert_jax.train.trainer import count_steps
from experiments.cli import NamedConfigs, named, run
from experiments.settings.plan import Plan, TuningPlan
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


class Job(NamedTuple):
    """Steps of one shape.

    title: names them. steps: their number. rows: examples of a step of one run. length: tokens of an example. flops:
    operations of an example. runs: number of runs in a step. make: `(pieces, runs, devices) -> Program`, in which a
    single run has as many examples on a device as here. pieces: into which a device's examples are cut. smaller: flags
    that lessen what a single row takes. accumulate: flag of the pieces; None if they cannot be more.
    """

    title: str
    steps: int
    rows: int
    length: int
    flops: float
    runs: int
    make: Callable[[int, int, Devices], Program]
    pieces: int
    smaller: str
    accumulate: str | None = None


def main(config: Plan | TuningPlan) -> None:
    """Print the plan of each phase of a run, and the hours of all steps.

    Raises:
        InputError: the topology is unknown, the devices cannot share a batch, or no division of it fits into memory.
    """
    if not config.topology:
        raise InputError(f"--topology is missing: v5e:16x16, h100:8, or another layout of {', '.join(CHIPS)}")
    stay_on_cpu()
    topology = find_topology(config.topology)
    compiler = topology if topology.compiles else find_topology(LIKE_A_GPU)
    print(f"{topology.name}: {len(topology.devices)} x {topology.chip.kind}; ", end="")
    jobs = _pretraining(config, topology) if isinstance(config, Plan) else _tuning(config, topology)
    seconds = [_plan(job, topology, compiler) for job in jobs]
    if len(seconds) > 1 and all(seconds):
        print(f"all steps    {sum(seconds) / 3600:,.1f} h, an estimate")
    print(GUESSED if topology.compiles else OF_GPUS)


def _pretraining(config: Plan, topology: Topology) -> list[Job]:
    pretrain, runs = config.pretrain, config.seeds
    size = load_tokenizer(Path(config.corpus)).vocab_size if config.corpus else config.vocab_size
    bert = bert_config(pretrain, size)
    if runs == 1:
        check(pretrain, topology.devices)
    print(f"{_runs(runs)}{pretrain.preset}, {size:,} tokens in the vocabulary")

    def job(first: int, last: int, rows: int, length: int) -> Job:
        each = rows // len(topology.devices)

        def make(pieces: int, runs: int, devices: Devices) -> Program:
            changed = dataclasses.replace(pretrain, accumulate=pieces)
            return pretraining(changed, bert, devices, each * len(devices) if runs == 1 else rows, length, runs)

        slots = make_objectives(pretrain.objective)[0].num_slots(length)
        return Job(
            f"steps {first + 1:,} to {last:,}",
            last - first,
            rows,
            length,
            throughput.flops_per_sequence(bert, length, slots),
            runs,
            make,
            pretrain.accumulate,
            "--pretrain.compute.remat",
            "--pretrain.accumulate",
        )

    boundary = pretrain.steps - pretrain.long.steps
    phases = (
        (0, boundary, pretrain.batch_size, pretrain.max_length),
        (boundary, pretrain.steps, pretrain.long.batch_size, pretrain.long.max_length),
    )
    return [job(*phase) for phase in phases if phase[0] < phase[1]]


def _tuning(config: TuningPlan, topology: Topology) -> list[Job]:
    tuning, readout, runs = config.finetune, config.readout, config.together
    is_size = config.encoder in PRESETS or re.fullmatch(r"\d+/\d+/\d+", config.encoder)
    bert = preset(config.encoder) if is_size else read_config(resolve(config.encoder))
    readouts.check(readout, bert)
    number = len(topology.devices)
    if runs == 1:
        check_batch_size(tuning.batch_size, "--finetune.batch-size", elsewhere=topology.devices)
    print(f"{_runs(runs)}{config.encoder}, {readout}")
    length, steps = (
        min(tuning.max_length, bert.max_length),
        count_steps(config.train_rows, tuning.epochs, tuning.batch_size),
    )

    def make(pieces: int, runs: int, devices: Devices) -> Program:
        rows = tuning.batch_size // number * len(devices) if runs == 1 else tuning.batch_size
        layout = Layout(devices) if runs == 1 else lay_out(devices, runs, runs)
        changed = dataclasses.replace(tuning, batch_size=rows)
        return finetuning(changed, bert, readout, config.classes, layout, length, steps)

    flops = throughput.flops_per_sequence(bert, length, 0)
    title = f"{steps:,} steps of the longest batches"
    smaller = "a smaller --finetune.batch-size" + (" or fewer --together" if runs > 1 else "")
    return [Job(title, steps, tuning.batch_size, length, flops, runs, make, 1, smaller)]


def _runs(runs: int) -> str:
    return f"{runs} runs of " if runs > 1 else ""


def _plan(job: Job, topology: Topology, compiler: Topology) -> float:
    """Print the plan of some steps; returns their seconds, or 0 if they are unknown."""
    number, runs = len(topology.devices), job.runs
    each = job.rows // number if runs == 1 else job.rows
    print(
        f"\n{job.title}: {job.rows:,} x {job.length} tokens a step"
        f"{' and run' if runs > 1 else f', {each} sequences a device'}"
    )
    there = runs_alike(runs, number, len(compiler.devices))

    def make(pieces: int) -> Program:
        return job.make(pieces, there, compiler.devices)

    found = fit_memory(make, job.pieces, each if job.accumulate else job.pieces, topology.chip)
    if isinstance(found, TooLarge):
        what = "one sequence at a time" if job.accumulate else "a step"
        raise InputError(
            f"--topology {topology.name}: {what} {found}; take devices with more memory, or give {job.smaller}"
        )
    state = make(found.pieces).state_bytes / (1 if runs == 1 else lay_out(compiler.devices, there, there).groups)
    for line in _memory(found, state, topology, job, each * (number if runs == 1 else 1)):
        print(line)
    print(f"collectives  {_collectives(found.cost) or 'none'}")
    if topology.compiles:
        return _print_estimate(found.cost, job, topology)
    job.make(found.pieces, runs, topology.devices).lower(topology.chip.platform)
    _print_hours(job, topology)
    return 0.0


def _print_estimate(cost: Cost, job: Job, topology: Topology) -> float:
    """Print the time of some steps; returns their seconds, or 0 if they are unknown."""
    number = len(topology.devices)
    taken = step_seconds(cost, number, topology.chip)
    if taken is None:
        _print_hours(job, topology)
        return 0.0
    examples = job.runs * job.rows
    used = throughput.mfu(examples * job.flops / taken, topology.chip.kind, number) or math.nan
    ring = ring_seconds(cost, number, topology.chip)
    print(
        f"step         {1e3 * taken:,.1f} ms = {1e3 * (taken - ring):,.1f} (XLA's cycles) + {1e3 * ring:,.1f} (links)"
    )
    print(
        f"estimate     MFU {used:.0%}, {examples * job.length / taken:,.0f} tokens/s, "
        f"{job.steps:,} steps in {job.steps * taken / 3600:,.1f} h"
    )
    return job.steps * taken


def _memory(found: Fit, state: float, topology: Topology, job: Job, rows: int) -> list[str]:
    """Lines on the memory. rows: of a step, all devices together."""
    limit, lines = topology.chip.memory / 1e9, []
    if found.refused is not None:
        largest = rows * job.pieces // found.pieces
        lines = [
            f"memory       {found.refused / 1e9:.1f} GB of {limit:.0f} GB a device: does not fit. These do: a batch of "
            f"{largest:,}, or {job.accumulate} {found.pieces}; what follows is of the latter"
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


def _print_hours(job: Job, topology: Topology) -> None:
    peak = throughput.peak_flops(topology.chip.kind)
    if peak is None:
        raise InputError(f"--topology {topology.name}: the peak of {topology.chip.kind} is unknown")
    hours = job.runs * job.rows * job.flops * job.steps / (peak * len(topology.devices)) / 3600
    print(
        "step         unknown; "
        + ", ".join(f"{hours / used:,.1f} h at an MFU of {used:.0%}" for used in (0.3, 0.4, 0.5))
    )


CONFIGS: NamedConfigs[Plan | TuningPlan] = {
    **{name: (text, Plan(**vars(config))) for name, (text, config) in named(PretrainRun).items()},
    "finetune": ("Say what a fine-tuning, or a population of them, takes on accelerators.", TuningPlan()),
}

if __name__ == "__main__":
    run(main, CONFIGS)
