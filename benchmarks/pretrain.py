"""Benchmark the pretraining step against Hugging Face's `BertForPreTraining` (torch): same device, shapes and examples.

Prints a table for `benchmarks/README.md`, which describes the measurement.
"""

import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.finetune import their_trainer
from benchmarks.turns import STEP_HEAD, check, describe_machine, markdown, new_process, prepare_ours, side, step_row

SHAPES = {
    "tiny": ((8, 32),),
    "mini": ((32, 128),),
    "base": ((16, 128), (4, 512)),
    "large": ((8, 128),),
}
"""(batch, length) of the steps to time on a CPU."""

VOCABULARY = 30522


@dataclass(frozen=True)
class Pretraining:
    """Sequences per second of a pretraining step, ours and theirs in turn, at several sizes."""

    models: tuple[Literal["tiny", "mini", "base", "large"], ...] = ("mini", "base")
    """Architectures; tiny is for a quick look."""
    batch_sizes: tuple[int, ...] = ()
    """Instead of those for a CPU, with --lengths."""
    lengths: tuple[int, ...] = ()
    """Tokens in an example, one for each of --batch-sizes."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is for accelerators: of both sides, with parameters in float32."""
    attention_dropout: float = 0.1
    """0 lets both sides have one fused kernel on a GPU."""
    rounds: int = 7
    """Times that both sides take their turns."""
    steps: int = 3
    """Steps in a turn."""


def main(config: Pretraining) -> None:
    """Measure, then print the table."""
    check(config)
    machine, rows, used = describe_machine("pretrain"), [], []
    for name in config.models:
        shapes = tuple(zip(config.batch_sizes, config.lengths, strict=True)) or SHAPES[name]
        with tempfile.TemporaryDirectory() as folder, new_process() as theirs, new_process() as ours:
            rest = (name, config.dtype, config.attention_dropout, folder)
            sides = {  # theirs first: it writes the weights that ours reads
                "theirs": side(theirs, seconds_per_step, their_step, rest),
                "ours": side(ours, seconds_per_step, our_step, rest),
            }
            rows += [step_row(name, sides, shape, config.rounds, config.steps) for shape in shapes]
            device = ours.submit(device_kind).result()
        for shape, row in zip(shapes, rows[-len(shapes) :], strict=True):
            used.append([utilisation(name, shape, float(speed), device) for speed in row[4:6]])
    head: tuple[str, ...] = STEP_HEAD
    if any(map(any, used)):
        head, rows = (*head, "our MFU", "their MFU"), [(*row, *two) for row, two in zip(rows, used, strict=True)]
    print(f"\n{machine} {device}.\n\n{markdown(head, rows)}")


def device_kind() -> str:
    """JAX's name of the device."""
    from bert_jax.parallel import devices

    return devices.device_kind()[0]


def utilisation(name: str, shape: tuple[int, int], sequences_per_second: float, device: str) -> str:
    """Share of the device's bfloat16 peak that the model's operations reach (MFU); empty for an unknown device."""
    from bert_jax.config import PRESETS
    from bert_jax.train.throughput import flops_per_sequence, mfu

    slots = examples(shape, 1)[0].masked_ids.shape[1]
    used = mfu(sequences_per_second * flops_per_sequence(PRESETS[name], shape[1], slots), device, 1)
    return "" if used is None else f"{100 * used:.1f}%"


def seconds_per_step(make: Callable[..., Any], rest: tuple[Any, ...], shape: tuple[int, int], n: int) -> float:
    """Time `n` steps over examples of a random corpus, equal for both sides. `make` builds its program once."""
    take_steps = make(*rest)
    batches = examples(shape, n)
    start = time.perf_counter()
    take_steps(batches)
    return (time.perf_counter() - start) / n


def examples(shape: tuple[int, int], n: int) -> list[Any]:
    """The first `n` batches of a corpus of random words, in sentences of 20."""
    from bert_jax.corpus.corpus import Corpus
    from bert_jax.data.examples import PretrainData
    from bert_jax.pretrain_config import ObjectiveConfig
    from bert_jax.tokenizers.template import SpecialIds

    tokens = np.random.default_rng(0).integers(1000, VOCABULARY, 400_000).astype(np.uint16)
    corpus = Corpus(tokens, np.arange(0, 400_001, 20), np.arange(0, 20_001, 100))
    special = SpecialIds(0, 100, 101, 102, 103)
    data = PretrainData(corpus, special, VOCABULARY, None, shape[1], ObjectiveConfig(), seed=0)
    return list(data.batches(shape[0], 0, n))


@functools.cache
def their_step(name: str, dtype: str, attention_dropout: float, folder: str) -> Callable[..., None]:
    """Build steps of BertForPreTraining from random weights, and write the weights to `folder`, if one is given."""
    import torch
    import transformers

    from bert_jax.config import preset

    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    size = preset(name)
    settings: dict[str, Any] = {
        "hidden_size": size.hidden_size,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.num_heads,
        "intermediate_size": size.intermediate_size,
        "attention_probs_dropout_prob": attention_dropout,
        "attn_implementation": "sdpa",
    }
    model: Any = transformers.BertForPreTraining(transformers.BertConfig(**settings))
    if folder:
        model.save_pretrained(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_step = their_trainer(model.to(device), 10_000, weight_decay=0.01)

    def take_steps(batches: Sequence[Any]) -> None:
        for batch in batches:
            arrays = {name: torch.from_numpy(x).to(device) for name, x in their_batch(batch).items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
                train_step(arrays)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return take_steps


def their_batch(batch: Any) -> dict[str, np.ndarray]:
    """A batch for BertForPreTraining: labels are -100 at unmasked positions; class 0 is "B follows A"."""
    labels = np.full(batch.tokens.ids.shape, -100)
    rows, slots = np.nonzero(batch.masked_weights)
    labels[rows, batch.masked_positions[rows, slots]] = batch.masked_ids[rows, slots]
    return {
        "input_ids": batch.tokens.ids.astype(np.int64),
        "token_type_ids": batch.tokens.segments.astype(np.int64),
        "attention_mask": batch.tokens.mask.astype(np.int64),
        "labels": labels,
        "next_sentence_label": 1 - batch.is_next.astype(np.int64),
    }


@functools.cache
def our_step(
    name: str, dtype: Literal["float32", "bfloat16"], attention_dropout: float, folder: str
) -> Callable[..., None]:
    """Build steps of `bert_jax` from the weights in `folder`, with the training loop of real runs.

    Without a folder, the weights are random.
    """
    import dataclasses

    prepare_ours()
    import jax

    from bert_jax.checkpoints.directory import load_checkpoint
    from bert_jax.config import ComputeConfig, OptimConfig, ReadoutConfig, preset
    from bert_jax.model.bert import BertForPretraining
    from bert_jax.parallel.devices import map_train_step, target
    from bert_jax.train.loop import fit
    from bert_jax.train.optim import make_optimizer
    from bert_jax.train.step import init_state, make_train_step, pretrain_objective

    checkpoint = load_checkpoint(Path(folder)) if folder else None
    bert = dataclasses.replace(
        checkpoint.config if checkpoint else preset(name),
        attention_dropout=attention_dropout,
        compute=ComputeConfig(dtype=dtype),
    )
    optimizer = make_optimizer(OptimConfig(), 10_000)
    model = BertForPretraining(bert, ReadoutConfig(projection="tanh"), target())
    step = map_train_step(make_train_step(pretrain_objective(model), optimizer))
    if checkpoint is None:
        (one,) = examples((1, 32), 1)
        inputs = one.tokens, one.masked_positions
        params = jax.jit(lambda key: model.init(key, *inputs)["params"])(jax.random.key(0))
    else:
        reader = {"projection": {"dense": checkpoint.pooler}}
        params = {"encoder": checkpoint.encoder, "reader": reader, "mlm": checkpoint.mlm, "nsp": checkpoint.nsp}
    state, key = init_state(params, optimizer), jax.random.key(0)

    def take_steps(batches: Sequence[Any]) -> None:
        nonlocal state
        # Only the last step is waited for, as in a real run.
        for _, trained, _ in fit(step, state, batches, key, pause=lambda step: False):
            pass
        state = jax.block_until_ready(trained)

    return take_steps


if __name__ == "__main__":
    from experiments.cli import run

    run(main, Pretraining)
