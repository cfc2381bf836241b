"""Frozen features: sentence vectors by many readouts from one pass of the encoder."""

import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.data.batching import choose_buckets
from bert_jax.data.one_segment import check_segments
from bert_jax.model.attention import without_attention_of_first
from bert_jax.model.bert import SentenceReadouts
from bert_jax.model.readout import trace
from bert_jax.parallel.devices import check_batch_size, map_predict_step, replicate, target
from bert_jax.parallel.inference import check_finite, predict_batches
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers.template import Encoding
from bert_jax.types import Array, Params, Step, Tokens, Tree

Features = dict[ReadoutConfig, np.ndarray]
"""readout -> sentence vectors [texts E], float32."""

IN_MEMORY = 2 * 2**30
"""Bytes of features kept in memory; larger sets go to a temporary file that is read readout by readout."""
NUM_BUCKETS = 8


def extract_features(
    pretrained: Pretrained,
    encodings: Sequence[Encoding],
    readouts: Sequence[ReadoutConfig],
    batch_size: int = 64,
    scratch: Path | None = None,
    on_rows: Callable[[int], None] = lambda rows: None,
    blind: np.ndarray | None = None,
) -> Features:
    """Sentence vectors of texts by several readouts; the encoder runs once for all of them.

    Equal to `Pretrained.embed` with each of the readouts. One program is compiled per length; it returns [B, sum of the
    readouts' widths].

    Args:
        encodings: tokenized texts or pairs, at most as long as the encoder's limit.
        readouts: the readouts; the cost of the encoder's pass is shared by all of them.
        batch_size: texts in a step, all devices together.
        scratch: folder for a temporary file; by default the system's.
        on_rows: called after each batch with its number of texts.
        blind: [N] True for the blocks in which [CLS] attends only to itself.

    Raises:
        InputError: a readout is unknown or has untrained weights, the batch size is impossible, pairs of texts are
            given to an encoder with one segment, or a vector is not finite.
    """
    readouts = tuple(readouts)
    check_batch_size(batch_size, "batch_size")
    check_segments(pretrained.config, encodings)
    params: Params = {"encoder": pretrained.checkpoint.encoder}
    for place, readout in enumerate(readouts):
        if reader := pretrained.reader_params(readout):
            params[f"readers_{place}"] = reader
    widths = [trace(readout, pretrained.config).width for readout in readouts]
    features = dict(zip(readouts, _allocate(len(encodings), widths, scratch), strict=True))
    if not encodings:
        return features
    buckets = choose_buckets(np.array([len(e.ids) for e in encodings]), NUM_BUCKETS, pretrained.config.max_length)
    step = _step(pretrained.config, readouts)
    special, cuts = pretrained.tokenizer.special, np.cumsum(widths)[:-1]
    for rows, values in predict_batches(step, replicate((params, blind)), encodings, special, batch_size, buckets):
        check_finite(values, rows)
        for array, part in zip(features.values(), np.split(values, cuts, -1), strict=True):
            array[rows] = part
        on_rows(len(rows))
    return features


def _allocate(rows: int, widths: Sequence[int], scratch: Path | None) -> list[np.ndarray]:
    """Allocate an array [rows width] for each width. The temporary file is unnamed and vanishes with the last array."""
    if 4 * rows * sum(widths) <= IN_MEMORY:
        return [np.empty((rows, width), np.float32) for width in widths]
    with tempfile.TemporaryFile(dir=scratch) as file:
        starts = 4 * rows * np.concatenate([[0], np.cumsum(widths)[:-1]])
        return [
            np.memmap(file, np.float32, "w+", int(start), (rows, width))
            for start, width in zip(starts, widths, strict=True)
        ]


@lru_cache(maxsize=32)
def _step(config: BertConfig, readouts: tuple[ReadoutConfig, ...]) -> Step:
    model = SentenceReadouts(config, readouts, target())

    def step(given: tuple[Params, Array | None], tokens: Tokens) -> Tree:
        params, blind = given
        seen = None if blind is None else without_attention_of_first(blind, tokens.mask)
        return model.apply({"params": params}, tokens, seen)

    return map_predict_step(step, config.compute.evaluation_precision)
