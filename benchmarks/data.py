"""Benchmark the host's work for pretraining: `prepare` raw text, compared with the tokenizer alone; make `examples`.

Prints tables for `benchmarks/README.md`, which describes the measurements. Nothing here needs torch.
"""

import functools
import hashlib
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import psutil

from benchmarks.turns import check, describe_machine, markdown, new_process, note, spread
from bert_jax.corpus import readers
from bert_jax.corpus.arrays import CHECKED_BYTES, ArrayFile, array_files, open_arrays
from bert_jax.corpus.corpus import Corpus, Counts, starts
from bert_jax.corpus.sentences import sentences_of
from bert_jax.corpus.shards import read_corpus
from bert_jax.data.examples import PretrainData
from bert_jax.pretrain_config import ObjectiveConfig
from bert_jax.tokenizers.template import SpecialIds
from bert_jax.tokenizers.tokenizer import load_tokenizer

PAIRS: tuple[Literal["nsp", "sop", "none"], ...] = ("nsp", "sop", "none")
MASKING: tuple[Literal["token", "whole_word", "span"], ...] = ("token", "whole_word", "span")
_INTERVAL = 0.1
"""Seconds between two readings of the memory."""
_AT_ONCE = 20_000
"""Sentences per call of the tokenizer alone."""


@dataclass(frozen=True)
class Prepare:
    """Megabytes of text per second and peak memory of prepare_corpus, and the tokenizer's own speed, in turn."""

    input: tuple[str, ...]
    """Files and folders of text, as prepare_corpus takes them."""
    copies: tuple[int, ...] = (1, 4)
    """Sizes of the corpus, in copies of the input."""
    vocab: Path | None = None
    """Existing tokenizer, for example a vocab.txt; by default one is trained in the first part of the run."""
    vocab_size: int = 16_000
    """Size of the vocabulary to train."""
    vocab_algorithm: str = "unigram"
    """Algorithm of SentencePiece: unigram or bpe."""
    workers: int = os.cpu_count() or 1
    """Number of processes of the preparation, and of threads of the tokenizer alone."""
    megabytes: int = 50
    """Largest amount of clean text that the tokenizer alone encodes."""
    rounds: int = 3
    """Rounds, in each of which both sides take a turn."""


@dataclass(frozen=True)
class Examples:
    """Sequences per second that one core makes of a corpus, for every objective."""

    corpus: Path | None = None
    """Folder written by prepare_corpus; by default random words."""
    tokens: int = 20_000_000
    """Number of random words."""
    sparse: bool = False
    """Map the random corpus into memory from files, of which that of the words is sparse and holds zeros: for any size.
    Its opening is measured too."""
    length: int = 128
    """Length of the sequences in tokens."""
    batch_size: int = 256
    """Sequences made at a time."""
    batches: int = 100
    """Batches in a turn."""
    rounds: int = 5
    """Turns of every objective."""
    first: int = 0
    """Step of the first batch, as of a run that is resumed."""


class Run(NamedTuple):
    """Seconds of a command, and the peak memory of all its processes together."""

    seconds: float
    megabytes: float


class Clean(NamedTuple):
    """Clean text of some inputs. megabytes: total size. sentences: the first sentences. sample: their size in MB."""

    megabytes: float
    sentences: list[str]
    sample: float


def main(config: Prepare | Examples) -> None:
    """Measure, then print the table."""
    check(config, needs=())
    machine = describe_machine("data", ("numpy", "sentencepiece", "tokenizers"))
    table = measure_preparation(config) if isinstance(config, Prepare) else measure_examples(config)
    print(f"\n{machine}\n\n{table}")


def measure_preparation(config: Prepare) -> str:
    """Make the table of `prepare`."""
    with tempfile.TemporaryDirectory() as folder, new_process() as process:
        size = process.submit(clean_megabytes, config.input, config.megabytes).result()
        rows, vocab = [], config.vocab or Path(folder) / "trained"
        if config.vocab is None:
            rows.append(preparation_row("vocabulary trained", size, [prepare(config, 1, vocab)], []))
        for copies in config.copies:
            runs, alone = [], []
            for number in range(config.rounds):
                out = Path(folder) / f"{copies}-{number}"
                runs.append(prepare(config, copies, out, vocab))
                alone.append(process.submit(encode, config.input, config.megabytes, vocab, config.workers).result())
            rows.append(preparation_row(f"vocabulary given, {copies} x the text", copies * size, runs, alone))
    head = ("preparation", "clean text, MB", "seconds", "MB/s", "peak memory, MB", "tokenizer alone, MB/s", "ratio")
    return markdown(head, rows)


def preparation_row(name: str, size: float, runs: list[Run], alone: list[float]) -> tuple[str, ...]:
    """A row of medians over rounds, except the largest memory peak; the ratio is the median of the rounds' ratios."""
    seconds = statistics.median(run.seconds for run in runs)
    ratio = spread([size / run.seconds / speed for run, speed in zip(runs, alone, strict=True)]) if alone else ""
    speed = f"{statistics.median(alone):.1f}" if alone else ""
    cells = f"{size:.0f}", f"{seconds:.1f}", f"{size / seconds:.1f}", f"{max(run.megabytes for run in runs):.0f}"
    note(f"{name}: {' | '.join(cells)} | {speed} | {ratio}")
    return name, *cells, speed, ratio


def prepare(config: Prepare, copies: int, out: Path, vocab: Path | None = None) -> Run:
    """Run the command in a new process, and measure the process from start to end."""
    command = [sys.executable, "-m", "experiments.prepare_corpus", "--out", str(out)]
    command += ["--input", *config.input * copies, "--workers", str(config.workers)]
    if vocab is None:
        command += ["--vocab-size", str(config.vocab_size), "--vocab-algorithm", config.vocab_algorithm]
    else:
        command += ["--vocab", str(vocab)]
    peak, start = 0, time.perf_counter()
    with psutil.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory(process))
            time.sleep(_INTERVAL)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return Run(seconds, peak / 1e6)


def memory(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; shared pages count once per process."""
    total = 0
    try:
        for part in [process, *process.children(recursive=True)]:
            total += part.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


@functools.cache
def clean_text(inputs: tuple[str, ...], megabytes: int) -> Clean:
    """The text that a preparation of the inputs tokenizes."""
    total, kept, sample = 0, list[str](), 0
    for sentence in clean_sentences(inputs):
        size = len(sentence.encode())
        total += size
        if total <= megabytes * 1e6:
            kept.append(sentence)
            sample = total
    return Clean(total / 1e6, kept, sample / 1e6)


def clean_sentences(inputs: Sequence[str]) -> Iterator[str]:
    """Every sentence of some inputs."""
    for block in readers.read_blocks(readers.find_sources(inputs), 8_000_000):
        for document in readers.read_documents(block, "text", "skip"):
            yield from sentences_of(document or "")


def clean_megabytes(inputs: tuple[str, ...], megabytes: int) -> float:
    """Size of all clean text of the inputs, in MB."""
    return clean_text(inputs, megabytes).megabytes


def encode(inputs: tuple[str, ...], megabytes: int, folder: Path, threads: int) -> float:
    """Megabytes per second of the tokenizer alone: sentences in memory to lists of ids."""
    found, tokenizer = clean_text(inputs, megabytes), load_tokenizer(folder, num_threads=threads)
    start = time.perf_counter()
    for first in range(0, len(found.sentences), _AT_ONCE):
        tokenizer.pieces(found.sentences[first : first + _AT_ONCE])
    return found.sample / (time.perf_counter() - start)


def measure_examples(config: Examples) -> str:
    """Make the table of `examples`. Its process uses one core, because NumPy uses threads only for matrix products."""
    objectives = [ObjectiveConfig(pairs=pairs, masking=masking) for pairs in PAIRS for masking in MASKING]
    objectives.append(ObjectiveConfig("ltr", "none"))
    found: dict[ObjectiveConfig, list[float]] = {objective: [] for objective in objectives}
    with new_process() as process:
        for _, (objective, speeds) in itertools.product(range(config.rounds), found.items()):
            speeds.append(process.submit(sequences_per_second, config, objective).result())
    return markdown(("objective", "sequences/s and core", "range"), itertools.starmap(examples_row, found.items()))


def examples_row(objective: ObjectiveConfig, speeds: list[float]) -> tuple[str, ...]:
    """A row with the median over rounds and the range."""
    name = "left to right" if objective.tokens == "ltr" else f"{objective.pairs}, {objective.masking}"
    note(f"{name}: {' '.join(f'{speed:,.0f}' for speed in speeds)}")
    return name, f"{statistics.median(speeds):,.0f}", f"{min(speeds):,.0f}-{max(speeds):,.0f}"


def sequences_per_second(config: Examples, objective: ObjectiveConfig) -> float:
    """Sequences per second of CPU time, without the first batch."""
    make = draw_sparse if config.sparse else draw
    corpus, special, starts_word = read(config.corpus) if config.corpus is not None else make(config.tokens)
    data = PretrainData(corpus, special, len(starts_word), starts_word, config.length, objective, seed=0)
    batches = data.batches(config.batch_size, config.first, config.first + 1 + config.batches)
    next(batches)
    start = time.process_time()
    for _ in batches:
        pass
    speed = config.batches * config.batch_size / (time.process_time() - start)
    if config.sparse:
        # Shared pages are files: the system's cache, which it takes back as it likes.
        found = psutil.Process().memory_info()
        own, cache = (found.rss - found.shared) / 1e6, found.shared / 1e6
        note(f"after {config.batches} batches {own:.0f} MB of its own, {cache:.0f} MB mapped of the cache of files")
    return speed


@functools.cache
def read(folder: Path) -> tuple[Corpus, SpecialIds, np.ndarray]:
    """Training text of a prepared corpus, its special ids, and a mask [V] of the tokens that begin a word."""
    tokenizer = load_tokenizer(folder)
    return read_corpus(folder, "train"), tokenizer.special, tokenizer.starts_word


@functools.cache
def draw(tokens: int) -> tuple[Corpus, SpecialIds, np.ndarray]:
    """The same for random words, as large as a small Wikipedia: 23 tokens per sentence, 20 sentences per document."""
    rng = np.random.default_rng(0)
    lengths = rng.geometric(1 / 23, tokens // 23)
    ends = starts(rng.geometric(1 / 20, len(lengths)))
    documents = np.append(ends[ends < len(lengths)], len(lengths))
    words = rng.integers(5, 16_000, lengths.sum()).astype(np.uint16)
    return Corpus(words, starts(lengths), documents), SpecialIds(0, 1, 2, 3, 4), rng.random(16_000) < 0.7


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def draw_sparse(tokens: int) -> tuple[Corpus, SpecialIds, np.ndarray]:
    """The same from files, drawn a million sentences at a time; notes the time and the memory of opening them."""
    folder, chunk = Path(tempfile.mkdtemp()), 1_000_000
    rng, rows, names = np.random.default_rng(0), tokens // 23, array_files("train")
    with open(folder / "ends", "wb") as ends, open(folder / "breaks", "wb") as breaks:
        token = sentence = 0
        for first in range(0, rows, chunk):
            lengths = rng.geometric(1 / 23, min(chunk, rows - first))
            (token + np.cumsum(lengths)).tofile(ends)
            cuts = np.cumsum(rng.geometric(1 / 20, chunk // 20)) + first
            cuts = np.append(cuts[cuts < first + len(lengths)], first + len(lengths))
            cuts.tofile(breaks)
            token, sentence = token + int(lengths.sum()), sentence + len(cuts)
    sizes = token, rows, sentence
    np.lib.format.open_memmap(folder / names["tokens"], "w+", np.uint16, (token,))
    for array, size, source in (("sentences", rows, "ends"), ("documents", sentence, "breaks")):
        out = np.lib.format.open_memmap(folder / names[array], "w+", np.int64, (size + 1,))
        out[1:] = np.memmap(folder / source, np.int64)
        del out
        (folder / source).unlink()
    paths = {array: folder / name for array, name in names.items()}
    digests = {array: _digest(path) if path.stat().st_size <= CHECKED_BYTES else "" for array, path in paths.items()}
    files = [ArrayFile(p.name, "train", array, p.stat().st_size, digests[array]) for array, p in paths.items()]
    process = psutil.Process()
    before, start = memory(process), time.perf_counter()
    corpus = open_arrays(folder, files, sizes, Counts(token, 0, token, 1, 0))
    seconds, opened = time.perf_counter() - start, memory(process) - before
    shutil.rmtree(folder)  # what is mapped stays until the process ends
    note(f"{token:,} tokens opened in {seconds:.3f} s and {opened / 1e6:.1f} MB")
    return corpus, SpecialIds(0, 1, 2, 3, 4), np.random.default_rng(0).random(16_000) < 0.7


if __name__ == "__main__":
    from experiments.cli import run

    run(main, Prepare | Examples)
