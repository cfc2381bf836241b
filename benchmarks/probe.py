"""Benchmark reading every layer and pooling from one pass of the encoder against a call of `embed` for each.

Prints a table for `benchmarks/README.md`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.turns import describe_machine, markdown, note, spread
from bert_jax.config import ReadoutConfig
from bert_jax.data.batching import encode_texts
from bert_jax.errors import InputError
from bert_jax.evaluate.features import extract_features
from bert_jax.pretrained import Pretrained, load
from experiments.cli import run
from experiments.settings.shared import expand_layers, make_grid

HEAD = ("layers x poolings", "at once, s", "one by one, s", "ratio", "one more pooling, share of the first")


@dataclass(frozen=True)
class Probe:
    """Seconds for the features of all layers and several poolings: one pass beside a run of embed for each."""

    encoder: str
    """Model directory or hub id, for example of all-MiniLM-L6-v2."""
    poolings: tuple[str, ...] = ("cls", "mean", "max", "mean_sqrt_len", "weightedmean")
    """Pooling specs."""
    rows: int = 1000
    """Sentences, of 14 or 30 random words."""
    rounds: int = 3
    """Times that both sides take their turns; one before them compiles and is not counted."""
    batch_size: int = 64
    """Sentences in a step."""

    def __post_init__(self) -> None:
        for field in ("rows", "rounds", "batch_size"):
            if getattr(self, field) < 1:
                raise InputError(f"--{field.replace('_', '-')} must be at least 1, not {getattr(self, field)}")


def main(config: Probe) -> None:
    """Measure, then print the table."""
    machine, pretrained = describe_machine("probe"), load(config.encoder)
    texts = sentences(config.rows)
    # Layer 0, the embeddings, is left out because a separate call for it costs next to nothing.
    layers = expand_layers(["all"], pretrained.config.num_layers)[1:]
    grid, first = make_grid(layers, config.poolings, ["none"]), make_grid(layers, config.poolings[:1], ["none"])
    sides = {
        "all": lambda: at_once(pretrained, texts, grid, config.batch_size),
        "first": lambda: at_once(pretrained, texts, first, config.batch_size),
        "single": lambda: one_by_one(pretrained, texts, grid, config.batch_size),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(config.rounds + 1):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            seconds[name].append(clock(sides[name]))
            note(f"round {number}, {name}: {seconds[name][-1]:.2f} s")
    every, alone, single = (seconds[name][1:] for name in ("all", "first", "single"))
    more = [(a - b) / b / max(len(config.poolings) - 1, 1) for a, b in zip(every, alone, strict=True)]
    ratios = [b / a for a, b in zip(every, single, strict=True)]
    shape = f"{len(layers)} x {len(config.poolings)}"
    print(f"\n{machine}\n\n{markdown(HEAD, [(shape, *map(spread, (every, single, ratios, more)))])}")


def at_once(pretrained: Pretrained, texts: Sequence[str], grid: Sequence[ReadoutConfig], batch_size: int) -> None:
    """Compute every readout from one pass, tokenizing included."""
    extract_features(pretrained, encode_texts(pretrained.tokenizer, texts, None, 128), grid, batch_size)


def one_by_one(pretrained: Pretrained, texts: Sequence[str], grid: Sequence[ReadoutConfig], batch_size: int) -> None:
    """Call `embed` for each readout; the call for a lower layer does not compute the layers above it."""
    for readout in grid:
        pretrained.embed(texts, readout.pooling, readout.layers, batch_size=batch_size, max_length=128)


def clock(work: Callable[[], None]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def sentences(rows: int) -> list[str]:
    """Random sentences of 14 or 30 words: only two lengths, because each is compiled for every readout."""
    words = "the of film is and a story that one with was it by time for not long people what first".split()
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, n)) for n in rng.choice([14, 30], rows)]


if __name__ == "__main__":
    run(main, Probe)
