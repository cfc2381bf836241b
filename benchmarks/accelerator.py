"""Measure everything on an accelerator with one command that ends in time: pretraining beside transformers, fine-tuning
and populations of it, embedding, precision, and the fused attention beside the plain one.

Prints a table for `benchmarks/README.md`, which describes the measurements, and writes its rows to a JSON file. Each
section is a process of its own, which is ended when its share of the time is over; the rows that it had stay.
"""

import contextlib
import importlib.util
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from benchmarks import population, pretrain
from benchmarks.turns import describe_machine, markdown, note, prepare_ours

Shape = tuple[int, int]


class Sizes(NamedTuple):
    """Sizes to measure: pretrainings as (model, (batch, length)), models of a population with lengths, and the model
    and shape of an encoder."""

    pretrainings: tuple[tuple[str, Shape], ...]
    tuned: tuple[tuple[str, int], ...]
    encoder: tuple[str, Shape]
    runs: int
    dtype: Literal["float32", "bfloat16"]


SIZES = {
    "full": Sizes(
        (("base", (256, 128)), ("base", (64, 512)), ("large", (128, 128)), ("large", (32, 512))),
        (("tiny", 32), ("tiny", 128), ("minilm", 32), ("minilm", 128), ("base", 32), ("base", 128)),
        ("base", (256, 128)),
        8,
        "bfloat16",
    ),
    "tiny": Sizes((("1/16/1", (8, 16)),), (("1/16/1", 16),), ("1/16/1", (8, 16)), 2, "float32"),
}


@dataclass(frozen=True)
class Accelerator:
    """Measure everything on the accelerator of this machine, in at most so many minutes."""

    out: Path = Path("accelerator.json")
    """File for the rows."""
    minutes: float = 9.0
    """Time for all sections; one that needs more than its share is ended."""
    sizes: Literal["full", "tiny"] = "full"
    """tiny is to try the command on a CPU."""
    steps: int = 10
    """Steps to time, after two that compile."""
    sections: tuple[str, ...] = ()
    """Sections to measure; by default all."""


Row = tuple[str, dict[str, float]]
"""A case, and its measures by name."""


def main(config: Accelerator) -> None:
    """Measure the sections, print the table and write the file.

    Raises:
        InputError: there is no section of that name.
    """
    from bert_jax.errors import unknown
    from bert_jax.files import write_whole

    for name in config.sections:
        if name not in SECTIONS:
            raise unknown("section", name, SECTIONS)
    start, rows = time.perf_counter(), list[dict[str, Any]]()

    def write(file: BinaryIO) -> None:
        file.write((json.dumps(rows, indent=1) + "\n").encode())

    names = [name for name in SECTIONS if not config.sections or name in config.sections]
    for place, name in enumerate(names):
        left = 60 * config.minutes - (time.perf_counter() - start)
        weights = [SECTIONS[each].weight for each in names[place:]]
        found, status = measure(name, config, left * weights[0] / sum(weights))
        rows += [{"section": name, "case": case, **measures} for case, measures in found]
        if status:
            rows.append({"section": name, "case": status})
        write_whole(config.out, write)
    print(f"\n{describe_machine('accelerator', ('jax', 'flax'))}\n\n{table(rows)}")


def measure(name: str, config: Accelerator, seconds: float) -> tuple[list[Row], str]:
    """The rows of a section that come within its time, and why it ended early, or nothing."""
    context, found = multiprocessing.get_context("spawn"), list[Row]()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(name, config, theirs), daemon=False)
    deadline = time.perf_counter() + seconds
    process.start()
    theirs.close()
    status = f"ended after {seconds:.0f} s"
    with contextlib.suppress(EOFError):
        while ours.poll(max(0.0, deadline - time.perf_counter())):
            message = ours.recv()
            if isinstance(message, str):
                status = message
                break
            note(f"{name}, {message[0]}: {_cells(message[1])}")
            found.append(message)
        else:
            process.kill()
    process.join()
    if process.exitcode and process.exitcode > 0:
        status = f"ended with status {process.exitcode}"
    return found, status


def _send(name: str, config: Accelerator, rows: Connection) -> None:
    """Send the rows of a section, then a text: empty, or the reason for which there are no more."""
    try:
        for row in SECTIONS[name].rows(SIZES[config.sizes], config.steps):
            rows.send(row)
        rows.send("")
    except Exception as error:  # whatever a library of the accelerator raises: the other sections go on
        rows.send(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    cells = [
        (row["section"], row["case"], _cells({k: v for k, v in row.items() if k not in ("section", "case")}))
        for row in rows
    ]
    return markdown(("section", "case", "measured"), cells)


def _cells(measures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in measures.items())


def our_pretraining(sizes: Sizes, steps: int) -> Iterator[Row]:
    """Our steps, without dropout on attention, so that it may be fused."""
    return _pretraining(pretrain.our_step, sizes, steps)


def their_pretraining(sizes: Sizes, steps: int) -> Iterator[Row]:
    """The steps of transformers on torch, if they are installed."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
        raise ModuleNotFoundError("torch and transformers are not installed")
    return _pretraining(pretrain.their_step, sizes, steps)


def _pretraining(make: Callable[..., Any], sizes: Sizes, steps: int) -> Iterator[Row]:
    prepare_ours()
    from bert_jax.config import preset
    from bert_jax.parallel.devices import device_kind
    from bert_jax.train import throughput

    for name, shape in sizes.pretrainings:
        rest = (name, sizes.dtype, 0.0, "")
        for taken in (2, steps):
            seconds = pretrain.seconds_per_step(make, rest, shape, taken)
        slots = pretrain.examples(shape, 1)[0].masked_ids.shape[1]
        flops = throughput.flops_per_sequence(preset(name), shape[1], slots) * shape[0] / seconds
        used = throughput.mfu(flops, *device_kind())
        measures = {"s/step": seconds, "tokens/s": shape[0] * shape[1] / seconds, "TFLOP/s": flops / 1e12}
        yield _case(name, shape), measures if used is None else measures | {"MFU": used}


def tuning(sizes: Sizes, steps: int) -> Iterator[Row]:
    """A fine-tuning alone, and a population of them as one program."""
    prepare_ours()
    from bert_jax.parallel.population import Layout, lay_out, local_devices

    devices, rows = local_devices(), 32
    config = population.Speed(batch_size=rows, runs=sizes.runs)
    for model, length in sizes.tuned:
        speeds = []
        for runs, layout in ((1, Layout(devices)), (sizes.runs, lay_out(devices, sizes.runs, sizes.runs))):
            program = population.build(config, model, length, layout)
            seconds = clock(program.take, steps)
            speeds.append(runs * rows / seconds)
            measures = {"s/step": seconds, "sequences/s": speeds[-1], "MB": program.memory / 1e6}
            yield f"{_case(model, (rows, length))}, {runs} runs", measures | {"ratio": speeds[-1] / speeds[0]}


def embedding(sizes: Sizes, steps: int) -> Iterator[Row]:
    """Sentence vectors in several precisions; error: the largest difference to float32 as a share of the largest."""
    reference = None
    for name, compute in {
        "float32, highest": {},
        "bfloat16": {"dtype": "bfloat16"},
        "bfloat16, plain attention": {"dtype": "bfloat16", "attention": "plain"},
        "bfloat16, fused attention": {"dtype": "bfloat16", "attention": "fused"},
    }.items():
        seconds, vectors = _encode(sizes.encoder, compute, steps)
        reference = vectors if reference is None else reference
        error = float(np.abs(vectors - reference).max() / np.abs(reference).max())
        case = f"{_case(*sizes.encoder)}, {name}"
        yield case, {"s/step": seconds, "sequences/s": sizes.encoder[1][0] / seconds, "error": error}


def attention(sizes: Sizes, steps: int) -> Iterator[Row]:
    """Gradients of the fused attention beside those of the plain one, over rows of several lengths.

    difference: the largest, as a share of the largest entry; rounding: the same between bfloat16 and float32, plain.
    """
    prepare_ours()
    import jax
    import jax.numpy as jnp

    from bert_jax.model.encoder import fused_attention
    from bert_jax.parallel.devices import target

    for length in (16,) if sizes.dtype == "float32" else (128, 512):
        rng = np.random.default_rng(0)
        heads = [jnp.asarray(rng.normal(size=(4, length, 4, 64)), jnp.float32) for _ in range(3)]
        mask = jnp.arange(length)[None] < jnp.array([length, length - 1, length // 2, 3])[:, None]

        def mixed(heads: Any, dtype: Any, fused: bool, mask: Any = mask) -> Any:
            query, key, value = (x.astype(dtype) for x in heads)
            if fused:
                out = fused_attention(query, key, value, mask, False, target())
            else:
                bias = jnp.where(mask, 0, jnp.finfo(jnp.float32).min)[:, None, None, :]
                out = jax.nn.dot_product_attention(query, key, value, bias.astype(dtype), implementation="xla")
            return jnp.sin(jnp.where(mask[:, :, None, None], out.astype(jnp.float32), 0)).sum()

        half = jnp.bfloat16 if sizes.dtype == "bfloat16" else jnp.float32
        ways = {"exact": (jnp.float32, False), "plain": (half, False), "fused": (half, True)}
        grads = {
            name: [np.asarray(x) for x in jax.jit(jax.grad(mixed), static_argnums=(1, 2))(heads, *way)]
            for name, way in ways.items()
        }
        largest = max(np.abs(x).max() for x in grads["exact"])
        apart = {
            name: float(max(np.abs(x - y).max() for x, y in zip(grads[name], grads["plain"], strict=True)) / largest)
            for name in ("fused", "exact")
        }
        yield f"4 x {length}", {"difference": apart["fused"], "rounding": apart["exact"]}


def _encode(encoder: tuple[str, Shape], compute: dict[str, Any], steps: int) -> tuple[float, np.ndarray]:
    """Seconds of a batch through a random encoder, and its vectors."""
    prepare_ours()
    import jax

    from bert_jax.config import ComputeConfig, ReadoutConfig, preset
    from bert_jax.model.bert import SentenceEncoder
    from bert_jax.parallel.devices import map_predict_step
    from bert_jax.pretrained import embed_step, init_all
    from bert_jax.types import Tokens

    name, shape = encoder
    bert, readout = preset(name, compute=ComputeConfig(**compute)), ReadoutConfig(pooling="mean")
    step = map_predict_step(embed_step(bert, readout), bert.compute.evaluation_precision)
    params = init_all(SentenceEncoder(bert, readout), jax.random.key(0))
    ids = np.random.default_rng(0).integers(1000, bert.vocab_size, shape).astype(np.int32)
    tokens = Tokens(ids, ids * 0, ids > 0, ids < 0)
    vectors = np.asarray(step(params, tokens), np.float32)

    def take(steps: int) -> None:
        rows = [step(params, tokens) for _ in range(steps)]
        np.asarray(rows[-1])

    return clock(take, steps), vectors


def clock(take: Callable[[int], None], steps: int) -> float:
    """Seconds of a step, after two that are not counted."""
    take(2)
    start = time.perf_counter()
    take(steps)
    return (time.perf_counter() - start) / steps


def _case(name: str, shape: Shape) -> str:
    return "{} {} x {}".format(name, *shape)


class Section(NamedTuple):
    """rows: `(sizes, steps) -> rows`, in a process of its own. weight: its share of the time that is left."""

    rows: Callable[[Sizes, int], Iterator[Row]]
    weight: float


SECTIONS = {
    "pretraining": Section(our_pretraining, 3.0),
    "pretraining, transformers": Section(their_pretraining, 1.5),
    "fine-tuning, population": Section(tuning, 2.5),
    "embedding, precision": Section(embedding, 1.0),
    "attention, parity": Section(attention, 0.5),
}

if __name__ == "__main__":
    from experiments.cli import run

    run(main, Accelerator)
