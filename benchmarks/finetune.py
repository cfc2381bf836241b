"""Benchmark fine-tuning on a CPU in fp32 against Hugging Face (torch): one training `step`, or a whole `epoch`.

Prints tables for `benchmarks/README.md`, which describes the measurements. Each side runs in its own processes, so that
their thread pools do not interfere. Both import this module, so its head imports neither jax nor torch.
"""

import functools
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks.turns import (
    STEP_HEAD,
    check,
    describe_machine,
    markdown,
    new_process,
    note,
    prepare_ours,
    side,
    spread,
    step_row,
)

MAX_LENGTH, BATCH_SIZE, EVAL_BATCH_SIZE, LEARNING_RATE, CLIP_NORM = 128, 32, 8, 5e-5, 1.0
"""Hugging Face's settings. The evaluation batch is its Trainer's default, ours is 64; the rest are our defaults too."""

Shape = tuple[int, ...]


class Model(NamedTuple):
    """An encoder by its `model_type` and settings in `transformers`, and (batch, length) of the steps to time."""

    kind: str
    settings: dict[str, Any]
    shapes: tuple[Shape, ...]


def _bert(layers: int, width: int, heads: int, *shapes: Shape) -> Model:
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    return Model("bert", sizes | {"intermediate_size": 4 * width}, shapes)


_ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
MODELS = {
    "tiny": _bert(2, 128, 2, (4, 16), (8, 32)),
    "minilm": _bert(6, 384, 12, (32, 32), (32, 128)),
    "base": _bert(12, 768, 12, (16, 32), (32, 32), (16, 64), (16, 128)),
    "roberta-base": Model("roberta", _ROBERTA, ((8, 64),)),
    "modernbert-base": Model("modernbert", {}, ((8, 64),)),
}
"""Architectures; what is not set is as in `transformers`, whose ModernBERT is the base by default."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Step:
    """Sequences per second of a training step, ours and theirs in turn, at several sizes."""

    models: tuple[Literal["tiny", "minilm", "base", "roberta-base", "modernbert-base"], ...] = ("minilm", "base")
    """Architectures; tiny is for a quick look."""
    clock: Literal["wall", "cpu"] = "wall"
    """Time of the wall, or the processor time of each side's process: on a busy machine, with both sides bound to one
    core (taskset), it is about what the wall would show on an idle one."""
    shape: tuple[int, int] | None = None
    """Batch and length of the steps, in place of the models' own."""
    rounds: int = 7
    """Times that both sides take their turns."""
    steps: int = 3
    """Steps in a turn."""


@dataclass(frozen=True)
class Epoch:
    """Seconds of a one-epoch fine-tuning with its evaluation, ours and theirs in turn, each a fresh process."""

    glue_dir: Path
    """Folder with the published GLUE folders (CoLA, MRPC, ...)."""
    encoder: str
    """Model directory or hub id, for example of all-MiniLM-L6-v2."""
    tasks: tuple[Literal["cola", "sst2", "mrpc", "qqp", "stsb", "qnli", "rte"], ...] = ("cola", "mrpc")
    """GLUE tasks."""
    rounds: int = 3
    """Times that every program is run."""
    rows: int | None = None
    """Train and evaluate on the first rows only, for a quick look."""


def main(config: Step | Epoch) -> None:
    """Measure, then print the table."""
    check(config)
    machine = describe_machine("finetune")
    table = measure_steps(config) if isinstance(config, Step) else measure_epochs(config)
    print(f"\n{machine}\n\n{table}")


def measure_steps(config: Step) -> str:
    """Make the table of `step`."""
    rows: list[Sequence[str]] = []
    for name in config.models:
        with tempfile.TemporaryDirectory() as folder, new_process() as theirs, new_process() as ours:
            sides = {  # theirs first: it writes the weights that ours reads
                "theirs": side(theirs, seconds_per_step, their_step, name, config.clock, folder),
                "ours": side(ours, seconds_per_step, our_step, name, config.clock, folder),
            }
            shapes = MODELS[name].shapes if config.shape is None else (config.shape,)
            rows += [step_row(name, sides, shape, config.rounds, config.steps) for shape in shapes]
    return markdown(STEP_HEAD, rows)


def seconds_per_step(make: Callable[..., Any], name: str, clock: str, folder: str, shape: Shape, n: int) -> float:
    """Time `n` steps over random words and labels, equal for both sides. `make` builds its program once."""
    take_steps, now = make(name, folder), CLOCKS[clock]
    rng = np.random.default_rng(0)
    batches = [(rng.integers(1000, 30522, shape), rng.integers(0, 2, shape[0])) for _ in range(n)]
    start = now()
    take_steps(batches)
    return (now() - start) / n


@functools.cache
def their_step(name: str, folder: str) -> Callable[..., None]:
    """Build steps of a sentence classifier of `transformers` from random weights, and write these to `folder`."""
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(MODELS[name].kind, **MODELS[name].settings)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    has_segments = hasattr(config, "type_vocab_size")
    train_step = their_trainer(model, 10_000, weight_decay=0.01)

    def take_steps(batches: list[tuple[np.ndarray, ...]]) -> None:
        for ids, labels in batches:
            words = torch.from_numpy(ids)
            rest = {"attention_mask": torch.ones_like(words), "labels": torch.from_numpy(labels)}
            rest |= {"token_type_ids": torch.zeros_like(words)} if has_segments else {}
            train_step({"input_ids": words} | rest)

    return take_steps


def their_trainer(model: Any, steps: int, weight_decay: float) -> Callable[[dict[str, Any]], None]:
    """Build the default training step of transformers.Trainer (fused AdamW), without logging and callbacks."""
    import torch
    from transformers import get_linear_schedule_with_warmup

    groups: dict[bool, list[Any]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups["bias" not in name and "LayerNorm" not in name].append(parameter)
    settings = [{"params": groups[decays], "weight_decay": weight_decay * decays} for decays in groups]
    optimizer = torch.optim.AdamW(settings, lr=LEARNING_RATE, fused=True)
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, steps)

    def train_step(batch: dict[str, Any]) -> None:
        model.train()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        scheduler.step()
        model.zero_grad()

    return train_step


@functools.cache
def our_step(name: str, folder: str) -> Callable[..., None]:
    """Build steps of `bert_jax` from the weights in `folder`, with the training loop of real runs."""
    prepare_ours()
    import jax
    import jax.numpy as jnp

    from bert_jax.checkpoints.directory import load_checkpoint
    from bert_jax.checkpoints.own_pooler import with_trained_pooler
    from bert_jax.config import FinetuneConfig
    from bert_jax.parallel.population import Layout, local_devices, side_by_side
    from bert_jax.pretrained import init_without_encoder
    from bert_jax.train.finetune import compile_program
    from bert_jax.train.loop import dispatch
    from bert_jax.types import TaskBatch, Tokens

    checkpoint = load_checkpoint(Path(folder))
    readout = checkpoint.schema.readout(checkpoint.config)
    layout = Layout(local_devices())
    program = compile_program(checkpoint.config, readout, 2, FinetuneConfig(), 10_000, layout)
    key = jax.random.key(0)
    fresh = init_without_encoder(program.model, key)
    reader = with_trained_pooler(fresh["reader"], readout, checkpoint)
    state = program.init(layout.put([fresh | {"encoder": checkpoint.encoder, "reader": reader}]))
    drawn = jnp.stack([key]), np.full(1, LEARNING_RATE, np.float32)

    def task_batch(ids: np.ndarray, labels: np.ndarray) -> TaskBatch:
        mask, special, segments = np.ones(ids.shape, bool), np.zeros(ids.shape, bool), np.zeros(ids.shape, np.int32)
        tokens = Tokens(ids.astype(np.int32), segments, mask, special)
        return TaskBatch(tokens, labels.astype(np.int32), np.ones(len(ids), np.float32))

    def take_steps(batches: list[tuple[np.ndarray, ...]]) -> None:
        nonlocal state
        ours = side_by_side([itertools.starmap(task_batch, batches)])
        *_, (_, trained, _) = dispatch(program.train_step, state, ours, drawn, lambda step, metrics: None)
        state = jax.block_until_ready(trained)

    return take_steps


class Outcome(NamedTuple):
    """A run: logits [rows C] of the evaluation set, seconds of training and evaluation, and of the whole process."""

    logits: np.ndarray
    fit: float
    process: float = 0.0


OURS, OURS_COLD = "bert_jax, compilation cache warm", "bert_jax, compilation cache cold"
DYNAMIC, PADDED = "Hugging Face, dynamic padding", f"Hugging Face, padded to {MAX_LENGTH} (run_glue)"


def measure_epochs(config: Epoch) -> str:
    """Make the table of `epoch`."""
    from bert_jax.checkpoints.directory import resolve
    from bert_jax.tasks import glue

    encoder, rows = str(resolve(config.encoder)), list[Sequence[str]]()
    for task in (glue.TASKS[name] for name in config.tasks):
        splits = read_splits(task, config.glue_dir, config.rows)
        outcomes: dict[str, list[Outcome]] = {OURS: [], OURS_COLD: [], DYNAMIC: [], PADDED: []}
        for number in range(config.rounds):
            for program, outcome in epoch_round(task, splits, encoder, config, number):
                outcomes[program].append(outcome)
        rows += epoch_rows(task, outcomes, splits[1].labels)
    head = ("task", "program", "whole process, s", "/ ours", "train + evaluate, s", "/ ours", "dev score")
    return markdown(head, rows)


def read_splits(task: Any, glue_dir: Path, rows: int | None) -> list[Any]:
    """Read the training split and the first evaluation split of a task, or their first rows."""
    from bert_jax.tasks import glue

    splits = [glue.read_tsv(task, glue_dir, name) for name in (task.train, task.evaluations[0])]
    return [split if rows is None else split.head(rows) for split in splits]


def epoch_round(
    task: Any, splits: list[Any], encoder: str, config: Epoch, number: int
) -> Iterator[tuple[str, Outcome]]:
    """Run every program once, the sides in alternating order; ours with an empty cache, then with the filled one."""
    with tempfile.TemporaryDirectory() as cache:
        own = (our_epoch, task.name, config.glue_dir, config.rows, encoder, cache)
        # Plain tuples, because unpickling our classes would import jax.
        peer = (their_epoch, *map(tuple, splits), encoder, task.num_outputs)
        sides = [[(OURS_COLD, own), (OURS, own)], [(DYNAMIC, (*peer, True)), (PADDED, (*peer, False))]]
        for program, call in itertools.chain.from_iterable(sides[:: -1 if number % 2 else 1]):
            start = time.perf_counter()
            with new_process() as process:
                outcome = process.submit(*call).result()
            outcome = outcome._replace(process=time.perf_counter() - start)
            note(f"{task.title}, {program}: {outcome.process:.1f} s ({outcome.fit:.1f} s)")
            yield program, outcome


def epoch_rows(task: Any, outcomes: dict[str, list[Outcome]], labels: np.ndarray) -> Iterator[tuple[str, ...]]:
    """A row per program: medians over rounds, ratios to ours of the same round, and the headline score."""
    from bert_jax.evaluate import metrics

    for program, runs in outcomes.items():
        cells = []
        for field in ("process", "fit"):
            pairs = [(getattr(a, field), getattr(b, field)) for a, b in zip(runs, outcomes[OURS], strict=True)]
            cells += [f"{statistics.median(a for a, _ in pairs):.1f}", spread([a / b for a, b in pairs])]
        score = metrics.score(task, metrics.predict(runs[0].logits, task), labels)[task.metrics[0]]
        yield task.title, program, *cells, f"{100 * score:.1f} {task.metrics[0]}"


def our_epoch(task_name: str, glue_dir: Path, rows: int | None, encoder: str, cache: str) -> Outcome:
    """Fine-tune and evaluate with `bert_jax`, with its defaults and BERT's own readout."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    prepare_ours()
    from bert_jax.config import FinetuneConfig, ReadoutConfig
    from bert_jax.pretrained import load
    from bert_jax.tasks import glue
    from bert_jax.train.finetune import finetune, prepare_task

    task, pretrained, config = glue.TASKS[task_name], load(encoder), FinetuneConfig(epochs=1)
    train, dev = read_splits(task, glue_dir, rows)
    data = prepare_task(task, pretrained.tokenizer, train, {"dev": dev}, config)
    start = time.perf_counter()
    logits = finetune(pretrained, data, ReadoutConfig(projection="tanh"), config, seed=0)["dev"]
    return Outcome(logits, time.perf_counter() - start)


def their_epoch(train: tuple[Any, ...], dev: tuple[Any, ...], encoder: str, num_outputs: int, dynamic: bool) -> Outcome:
    """Fine-tune and evaluate as run_glue.py does, with the Trainer's loop but without logging and saving."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers
    from torch.utils.data import DataLoader

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    transformers.set_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=num_outputs)
    collate = transformers.DataCollatorWithPadding(tokenizer) if dynamic else transformers.default_data_collator
    train_rows, dev_rows = (their_rows(tokenizer, *split, dynamic=dynamic) for split in (train, dev))
    start = time.perf_counter()
    batches = DataLoader(train_rows, BATCH_SIZE, shuffle=True, collate_fn=collate)
    train_step = their_trainer(model, len(batches), weight_decay=0.0)
    for batch in batches:
        train_step(batch)
    model.eval()
    with torch.no_grad():
        parts = [model(**batch).logits for batch in DataLoader(dev_rows, EVAL_BATCH_SIZE, collate_fn=collate)]
    return Outcome(torch.cat(parts).numpy(), time.perf_counter() - start)


def their_rows(tokenizer: Any, a: list[str], b: list[str] | None, labels: Any, *, dynamic: bool) -> Any:
    """Rows for a collator, tokenized as in run_glue.py."""
    padding = False if dynamic else "max_length"
    columns = dict(tokenizer(a, b, padding=padding, max_length=MAX_LENGTH, truncation=True), label=labels.tolist())
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


if __name__ == "__main__":
    from experiments.cli import run

    run(main, Step | Epoch)
