"""Run a program over every row of a data set exactly once, on any number of devices."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from bert_jax.data.batching import Pack, epoch_plan, pad_tokens
from bert_jax.errors import InputError
from bert_jax.tokenizers.template import Encoding, SpecialIds
from bert_jax.types import Params, Step, Tree


def predict_rows(
    predict_step: Step,
    params: Params,
    encodings: Sequence[Encoding],
    special: SpecialIds,
    batch_size: int,
    buckets: Sequence[int],
) -> np.ndarray:
    """Outputs [rows ...] in row order of a step mapped by `parallel.map_predict_step`; arguments as `predict_batches`.

    There must be at least one row.
    """
    outputs = None
    for rows, values in predict_batches(predict_step, params, encodings, special, batch_size, buckets):
        outputs = np.empty((len(encodings), *values.shape[1:]), values.dtype) if outputs is None else outputs
        outputs[rows] = values
    assert outputs is not None, "there must be at least one row"
    return outputs


def predict_batches(
    predict_step: Step,
    params: Tree,
    encodings: Sequence[Encoding],
    special: SpecialIds,
    batch_size: int,
    buckets: Sequence[int],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each batch the row numbers [n] and the step's outputs for them [n ...]; every row occurs once.

    Args:
        predict_step: `(params, tokens) -> [B ...]`, mapped by `parallel.map_predict_step`.
        params: first argument of the step, usually the model's parameters.
        encodings: the rows.
        special: special ids for padding.
        batch_size: rows in a step, all devices together.
        buckets: lengths to pad to, see `choose_buckets`.
    """
    lengths = np.array([len(e.ids) for e in encodings])
    packs = (Pack(plan.rows, plan.length, batch_size) for plan in epoch_plan(lengths, buckets, batch_size))
    yield from predict_packs(predict_step, params, encodings, special, packs)


def predict_packs(
    predict_step: Step,
    params: Params,
    encodings: Sequence[Encoding],
    special: SpecialIds,
    packs: Iterable[Pack],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`predict_batches` over batches that are already planned; together they must hold every row."""
    # Dispatch runs ahead of the device: the outputs of a step are fetched once the next one has been sent.
    pending: list[tuple[np.ndarray, Tree]] = []
    for pack in itertools.chain(packs, [None]):
        if pack is not None:
            tokens = pad_tokens([encodings[i] for i in pack.rows], special, pack.size, pack.length)
            pending.append((pack.rows, predict_step(params, tokens)))
        while pending and (pack is None or len(pending) > 1):
            rows, result = pending.pop(0)
            yield rows, np.asarray(result)[: len(rows)]


def check_finite(values: np.ndarray, rows: np.ndarray) -> None:
    """Raise for outputs [n ...] of an encoder that are not finite; `rows` [n] are the numbers of their texts from 0.

    Raises:
        InputError: an output is NaN or infinite.
    """
    bad = rows[~np.isfinite(values.reshape(len(values), -1)).all(1)]
    if len(bad):
        raise InputError(
            f"the encoder's output for text {bad.min() + 1} is not finite: its weights are damaged, or too large for "
            "float32; get its files again"
        )
