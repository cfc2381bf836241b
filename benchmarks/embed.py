"""Benchmark sentence embedding on a CPU in fp32 against sentence-transformers.

Prints a table for `benchmarks/README.md`, which describes the measurement. Each side runs in its own process, so that
their thread pools do not interfere. Both import this module, so its head imports neither jax nor torch.
"""

import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import check, describe_machine, markdown, new_process, note, prepare_ours, spread

HEAD = ("file", "sentences", "ours, s", "theirs, s", "ours, sentences/s", "theirs, sentences/s", "ratio")
TOLERANCE = 1e-5
Turn = Callable[[], "Future[tuple[float, np.ndarray]]"]
"""Function that starts the embedding of a file; the result is its seconds and the vectors."""
PEERS = ("torch", "transformers", "sentence-transformers")


@dataclass(frozen=True)
class EmbedBenchmark:
    """Sentences per second of sentence embedding, ours and sentence-transformers' in turn, on the same files."""

    encoder: str
    """Model directory or hub id, for example of all-MiniLM-L6-v2."""
    inputs: tuple[Path, ...]
    """Files with a sentence a line."""
    pooling: str = "mean"
    """Pooling spec that sentence-transformers has, too."""
    max_length: int = 256
    """Tokens that longer sentences are cut to."""
    rounds: int = 5
    """Times that both sides take their turns."""
    rows: int | None = None
    """Embed the first lines only, for a quick look."""


def main(config: EmbedBenchmark) -> None:
    """Measure, then print the table."""
    check(config, PEERS)
    machine, rows = describe_machine("embed", ("jax", "flax", *PEERS)), []
    with tempfile.TemporaryDirectory() as folder:
        with new_process() as process:  # in a new process, so that the sides start without imports
            process.submit(export, config, folder).result()
        for path in config.inputs:
            with new_process() as theirs, new_process() as ours:
                sides = {
                    "theirs": functools.partial(theirs.submit, embed, their_encode, folder, path, config),
                    "ours": functools.partial(ours.submit, embed, our_encode, folder, path, config),
                }
                rows.append(measure(path, sides, config))
    print(f"\n{machine}\n\n{markdown(HEAD, rows)}")


def measure(path: Path, sides: Mapping[str, Turn], config: EmbedBenchmark) -> tuple[str, ...]:
    """Measure a row under `HEAD`. The first round, in which ours compiles, is not counted. Vectors must agree."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(config.rounds + 1):
        found = {}
        for side in list(sides)[:: -1 if number % 2 else 1]:
            time_taken, found[side] = sides[side]().result()
            seconds[side].append(time_taken)
        difference = float(np.abs(found["ours"] - found["theirs"]).max())
        assert difference < TOLERANCE, f"the sides differ by {difference}"
        note(f"{path.name}: ours {seconds['ours'][-1]:.2f} s, theirs {seconds['theirs'][-1]:.2f} s")
    ours, theirs = seconds["ours"][1:], seconds["theirs"][1:]
    count, medians = len(found["ours"]), (statistics.median(ours), statistics.median(theirs))
    ratio = spread([b / a for a, b in zip(ours, theirs, strict=True)])
    cells = [f"{x:.2f}" for x in medians] + [f"{count / x:.0f}" for x in medians]
    return path.name, f"{count:,}", *cells, ratio


def export(config: EmbedBenchmark, folder: str) -> None:
    """Write the model that both sides load, with `experiments.convert`."""
    from experiments.convert import ConvertConfig
    from experiments.convert import main as convert

    target = Path(folder) / "model"
    convert(
        ConvertConfig(config.encoder, target, "sentence-transformers", config.pooling, max_length=config.max_length)
    )


def embed(make: Callable[..., Any], folder: str, path: Path, config: EmbedBenchmark) -> tuple[float, np.ndarray]:
    """Seconds from texts to vectors, and the vectors. `make` is cached, so that the model is loaded once."""
    encode = make(f"{folder}/model", config.pooling, config.max_length)
    texts = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")[: config.rows]
    start = time.perf_counter()
    vectors = encode(texts)
    return time.perf_counter() - start, vectors


@functools.cache
def their_encode(folder: str, pooling: str, max_length: int) -> Callable[[list[str]], np.ndarray]:
    """`SentenceTransformer.encode` with its defaults."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.logging.disable_progress_bar()
    model = SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(texts, show_progress_bar=False)


@functools.cache
def our_encode(folder: str, pooling: str, max_length: int) -> Callable[[list[str]], np.ndarray]:
    """`Pretrained.embed` with its defaults."""
    prepare_ours()
    from bert_jax.pretrained import load

    model = load(folder)
    return lambda texts: model.embed(texts, pooling, max_length=max_length)


if __name__ == "__main__":
    from experiments.cli import run

    run(main, EmbedBenchmark)
