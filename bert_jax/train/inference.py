"""A program over every row of a data set exactly once, on any number of devices."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from bert_jax.data.batching import Pack, epoch_plan, pad_tokens
from bert_jax.data.tokenizer import Encoding, SpecialIds
from bert_jax.train.parallel import split_batch
from bert_jax.types import Params


def predict_rows(
    predict_step: Callable[..., Any],
    params: Params,
    encodings: Sequence[Encoding],
    special: SpecialIds,
    batch_size: int,
    buckets: Sequence[int],
) -> np.ndarray:
    """Outputs [rows ...] in row order of a step mapped by `parallel.map_predict_step`.

    Args:
        predict_step: `(params, tokens) -> [devices B ...]`.
        params: its parameters.
        encodings: the rows, at least one.
        special: what fills a batch.
        batch_size: rows in a step, all devices together.
        buckets: lengths to pad to, see `choose_buckets`.
    """
    lengths = np.array([len(e.ids) for e in encodings])
    packs = (Pack(plan.rows, plan.length, batch_size) for plan in epoch_plan(lengths, buckets, batch_size))
    return predict_packs(predict_step, params, encodings, special, packs)


def predict_packs(
    predict_step: Callable[..., Any],
    params: Params,
    encodings: Sequence[Encoding],
    special: SpecialIds,
    packs: Iterable[Pack],
) -> np.ndarray:
    """As `predict_rows`, over batches that are planned already; together they hold every row."""
    outputs = None
    # Dispatch runs ahead of the device: what a step gives is fetched when the next one has been sent.
    pending: list[tuple[np.ndarray, Any]] = []
    for pack in itertools.chain(packs, [None]):
        if pack is not None:
            tokens = pad_tokens([encodings[i] for i in pack.rows], special, pack.size, pack.length)
            pending.append((pack.rows, predict_step(params, split_batch(tokens))))
        while pending and (pack is None or len(pending) > 1):
            rows, result = pending.pop(0)
            values = np.asarray(result).reshape(-1, *result.shape[2:])[: len(rows)]
            outputs = np.empty((len(encodings), *values.shape[1:]), values.dtype) if outputs is None else outputs
            outputs[rows] = values
    assert outputs is not None, "there must be at least one row"
    return outputs
