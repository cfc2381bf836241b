"""Benchmark runs that train as one program against the same runs one after the other; or `check` that they are equal;
or `plan` both on accelerators that are not here.

Prints a table for `benchmarks/README.md`, which describes the measurements.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks.finetune import MODELS
from benchmarks.turns import check, describe_machine, markdown, note, prepare_ours, spread


@dataclass(frozen=True)
class Speed:
    """Seconds of a training step of several runs, together and one by one, with the programs' memory and operations."""

    models: tuple[Literal["tiny", "minilm", "base"], ...] = ("tiny", "minilm", "base")
    """Architectures, with BERT's vocabulary."""
    lengths: tuple[int, ...] = (32, 128)
    """Lengths of a batch."""
    batch_size: int = 32
    """Rows of a batch of one run."""
    runs: int = 8
    """Runs of the population."""
    rounds: int = 5
    """Times that both sides take their turns."""
    steps: int = 3
    """Steps in a turn; one by one, every run takes so many."""


@dataclass(frozen=True)
class Plan:
    """Memory, operations and estimated time of a training step of several runs, together and one by one, on
    accelerators that are not here, for which the programs are compiled."""

    topology: str
    """Slice of TPUs, such as v5e:2x4, or number of GPUs, such as h100:1."""
    models: tuple[Literal["tiny", "minilm", "base"], ...] = ("tiny", "minilm", "base")
    """Architectures, with BERT's vocabulary."""
    lengths: tuple[int, ...] = (32, 128)
    """Lengths of a batch."""
    batch_size: int = 32
    """Rows of a batch of one run."""
    runs: int = 8
    """Runs of the population."""


@dataclass(frozen=True)
class Check:
    """Fine-tune for an epoch with several seeds and rates, of which one diverges, together and one by one; compare
    every parameter and prediction."""

    glue_dir: Path
    """Folder with the published GLUE folders (CoLA, MRPC, ...)."""
    encoder: str
    """Model directory or hub id, for example of all-MiniLM-L6-v2."""
    task: Literal["cola", "sst2", "mrpc", "qqp", "qnli", "rte"] = "cola"
    """GLUE task."""
    rows: int = 64
    """Rows to train on, and as many to predict."""
    lengths: int = 1
    """Number of input lengths."""
    seeds: int = 4
    """Number of seeds."""
    rates: tuple[float, ...] = (2e-5, 5e-5)
    """Learning rates. The last run of the grid has 1e30 instead."""
    largest: float = 1e-5
    """Largest difference, as a share of the largest entry of a tensor."""


def main(config: Speed | Plan | Check) -> None:
    """Measure or plan, then print the table; or compare, and print the differences."""
    if isinstance(config, Plan):
        print_plan(config)
        return
    prepare_ours()
    if isinstance(config, Check):
        compare(config)
        return
    check(config, needs=())
    machine = describe_machine("population", ("jax", "flax"))
    rows = [measure(config, model, length) for model in config.models for length in config.lengths]
    head = ("model", "batch x length", "together, s", "one by one, s", "ratio")
    costs = tuple(f"{what}, {n}" for what in ("memory, MB", "GFLOP a step") for n in ("1 run", f"{config.runs} runs"))
    print(f"\n{machine}\n\n{markdown((*head, *costs), rows)}")


class Program(NamedTuple):
    """A compiled training step: a function that takes some, the bytes that it needs, and its operations."""

    take: Callable[[int], None]
    memory: float
    flops: float


def measure(config: Speed, model: str, length: int) -> tuple[str, ...]:
    """Make a row of the table. The first round, which warms up, is not counted."""
    from bert_jax.parallel.population import Layout, lay_out, local_devices

    devices = local_devices()
    together = build(config, model, length, lay_out(devices, config.runs, config.runs))
    alone = build(config, model, length, Layout(devices))
    sides = {"together": (together, config.steps), "alone": (alone, config.steps * config.runs)}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(config.rounds + 1):
        for side in list(sides)[:: -1 if number % 2 else 1]:
            program, steps = sides[side]
            start = time.perf_counter()
            program.take(steps)
            seconds[side].append((time.perf_counter() - start) / config.steps)
    ours, theirs = seconds["together"][1:], seconds["alone"][1:]
    cells = [f"{statistics.median(values):.3f}" for values in (ours, theirs)]
    ratio = spread([b / a for a, b in zip(ours, theirs, strict=True)])
    costs = [f"{program.memory / 1e6:.0f}" for program in (alone, together)]
    costs += [f"{program.flops / 1e9:.1f}" for program in (alone, together)]
    note(f"{model} {length}: {' | '.join(cells)} | {ratio}")
    return model, f"{config.batch_size} x {length}", *cells, ratio, *costs


def architecture(model: str) -> Any:
    """The config of a BERT of `MODELS`, or of layers/hidden/heads, with BERT's vocabulary."""
    from bert_jax.config import preset

    size = MODELS[model].settings if model in MODELS else {}
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads")
    return preset("/".join(str(size[name]) for name in names) if size else model)


def build(config: Speed, model: str, length: int, layout: Any) -> Program:
    """Compile the step of a population, over random words and labels from random weights."""
    import jax
    import jax.numpy as jnp

    from bert_jax.config import FinetuneConfig, ReadoutConfig
    from bert_jax.parallel.population import memory_needed, stack
    from bert_jax.pretrained import init_all
    from bert_jax.train.finetune import compile_program
    from bert_jax.types import TaskBatch, Tokens

    bert = architecture(model)
    program = compile_program(bert, ReadoutConfig(projection="mlp"), 2, FinetuneConfig(), 10_000, layout)
    params = jax.device_get(init_all(program.model, jax.random.key(0)))
    members = program.init(layout.put([params] * layout.places))
    shape, rng = (config.batch_size, length), np.random.default_rng(0)
    tokens = Tokens(
        rng.integers(1000, bert.vocab_size, shape).astype(np.int32),
        np.zeros(shape, np.int32),
        np.ones(shape, bool),
        np.zeros(shape, bool),
    )
    rows = TaskBatch(tokens, rng.integers(0, 2, shape[0]).astype(np.int32), np.ones(shape[0], np.float32))
    batch = stack([rows] * layout.places)
    keys, rates = jax.random.split(jax.random.key(0), layout.places), jnp.full(layout.places, 5e-5)
    compiled = program.train_step.lower(members, batch, keys, rates).compile()
    costs: Any = compiled.cost_analysis()

    def take(steps: int) -> None:
        nonlocal members
        for _ in range(steps):
            members, metrics = compiled(members, batch, keys, rates)
        jax.block_until_ready((members, metrics))

    return Program(take, memory_needed(compiled), float(costs["flops"]))


def print_plan(config: Plan) -> None:
    """Print the table of a plan, a row as soon as it is compiled."""
    from bert_jax.parallel.topologies import stay_on_cpu

    stay_on_cpu()
    machine = describe_machine("population", ("jax", "libtpu"))
    columns = ("memory of a device, MB", "GFLOP of a device", "collectives, MB", "estimated ms")
    head = ("model", "batch x length", *(f"{what}, {n}" for what in columns for n in ("one by one", "together")))
    print(f"\n{machine}\n\n{markdown(head, ())}")
    for model in config.models:
        for length in config.lengths:
            costs = [planned(config, model, length, runs) for runs in (1, config.runs)]
            times = (1, config.runs, config.runs, config.runs), (1, 1, 1, 1)
            pairs = [
                ["" if value is None else f"{n * value:,.4g}" for n, value in zip(each, cost, strict=True)]
                for each, cost in zip(times, costs, strict=True)
            ]
            cells = [cell for both in zip(*pairs, strict=True) for cell in both]
            print(f"| {' | '.join([model, f'{config.batch_size} x {length}', *cells])} |", flush=True)


def planned(config: Plan, model: str, length: int, runs: int) -> tuple[float, float, float, float | None]:
    """Memory in MB, GFLOP, MB of collectives and ms (None on GPUs) of a step on each device."""
    from bert_jax.config import FinetuneConfig, ReadoutConfig
    from bert_jax.parallel.compiled import compile_cost
    from bert_jax.parallel.devices import Absent, Devices
    from bert_jax.parallel.population import Layout, lay_out, runs_alike
    from bert_jax.parallel.topologies import LIKE_A_GPU, find_topology
    from bert_jax.train import programs
    from bert_jax.train.step_cost import step_seconds

    topology = find_topology(config.topology)
    compiler = topology if topology.compiles else find_topology(LIKE_A_GPU)
    bert = architecture(model)
    number = len(topology.devices)

    def program(devices: Devices) -> programs.Program:
        there = runs_alike(runs, number, len(devices))
        layout = Layout(devices) if there == 1 else lay_out(devices, there, there)
        rows = config.batch_size // number * len(devices) if runs == 1 else config.batch_size
        return programs.finetuning(
            FinetuneConfig(batch_size=rows), bert, ReadoutConfig(projection="mlp"), 2, layout, length, 10_000
        )

    # Operations are counted of programs for absent devices only.
    absent = tuple(Absent(place, topology.chip.platform, topology.chip.kind) for place in range(number))
    lowered: Any = program(absent).lower(topology.chip.platform)
    cost = compile_cost(program(compiler.devices).lower("tpu"))
    seconds = step_seconds(cost, number, topology.chip) if topology.compiles else None
    moved = sum(collective.bytes for collective in cost.collectives)
    operations = float(lowered.cost_analysis()["flops"])
    note(f"{model} {length}, {runs} runs: {cost.memory / 1e6:.0f} MB, {cost.cycles} cycles")
    return cost.memory / 1e6, operations / 1e9, moved / 1e6, None if seconds is None else 1e3 * seconds


def compare(config: Check) -> None:
    """Print the largest difference of each run.

    That of the biases of attention's keys stands by itself and is not limited: they change no output, their gradient is
    rounding noise, and Adam scales that up to the size of any other gradient.

    Raises:
        SystemExit: a difference is larger than it may be.
    """
    from bert_jax.parallel.population import local_devices
    from bert_jax.train.loop import Diverged

    worst = 0.0
    print(f"{config.task}, {config.rows} rows, {len(local_devices())} devices: together beside one by one")
    for trial, (one, alone) in trained(config):
        if isinstance(one, Diverged) or isinstance(alone, Diverged):
            same = isinstance(one, Diverged) and isinstance(alone, Diverged) and one.step == alone.step
            print(f"seed {trial.seed}, rate {trial.learning_rate:g}: {one}; alone {alone}")
            worst = max(worst, 0.0 if same else np.inf)
            continue
        found = differences(one.params, alone.params)
        keys = max(found.pop(name) for name in list(found) if name.endswith("key/bias"))
        tensor = max(found, key=lambda name: found[name])
        answers = [run.outputs["dev"] for run in (one, alone)]
        equal = np.array_equal(*(rows.argmax(-1) for rows in answers))
        print(
            f"seed {trial.seed}, rate {trial.learning_rate:g}: parameters {found[tensor]:.1e} ({tensor}; "
            f"biases of keys {keys:.1e}), "
            f"logits {np.abs(answers[0] - answers[1]).max():.1e}, predictions {'equal' if equal else 'DIFFER'}"
        )
        worst = max(worst, found[tensor], 0.0 if equal else np.inf)
    print(f"largest {worst:.1e}, allowed {config.largest:g}")
    if not worst <= config.largest:
        raise SystemExit(1)


def trained(config: Check) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    """Yield each trial with its run in the population and its run alone, on one device."""
    import itertools

    from bert_jax.config import FinetuneConfig, ReadoutConfig
    from bert_jax.parallel.population import Layout, lay_out, local_devices
    from bert_jax.pretrained import load
    from bert_jax.tasks import glue
    from bert_jax.train.finetune import finetune_together, prepare_task
    from bert_jax.train.trainer import Trial

    task, pretrained = glue.TASKS[config.task], load(config.encoder)
    settings = FinetuneConfig(epochs=1, batch_size=8, eval_batch_size=8, num_buckets=config.lengths)
    names = (task.train, task.evaluations[0])
    train, dev = (glue.read_tsv(task, config.glue_dir, name).head(config.rows) for name in names)
    data = prepare_task(task, pretrained.tokenizer, train, {"dev": dev}, settings)
    trials = [Trial(*pair) for pair in itertools.product(range(config.seeds), config.rates)]
    trials[-1] = trials[-1]._replace(learning_rate=1e30)
    devices, readout = local_devices(), ReadoutConfig(pooling="mean")
    layout = lay_out(devices, len(trials), len(trials))
    together = finetune_together(pretrained, data, readout, settings, trials, layout)
    for trial, run in zip(trials, together, strict=True):
        (alone,) = finetune_together(pretrained, data, readout, settings, [trial], Layout(devices[:1]))
        yield trial, (run, alone)


def differences(one: Any, other: Any) -> dict[str, float]:
    """Parameter -> its largest difference, as a share of its largest entry."""
    import jax

    pairs = zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): float(np.abs(x - y).max() / np.abs(y).max())
        for (path, x), y in pairs
    }


if __name__ == "__main__":
    from experiments.cli import run

    run(main, Speed | Plan | Check)
