"""A checkpoint's own next-sentence head, applied to [CLS] as in pretraining or to another pooling."""

from collections.abc import Sequence

import numpy as np

from bert_jax.config import ProbeConfig
from bert_jax.data.batching import encode_texts
from bert_jax.evaluate.nsp_head import count_probabilities, follow_probability
from bert_jax.study.regime import Bench, Made, Regime, joins_all_pairs, make_row, read_once
from bert_jax.study.run import Run
from bert_jax.study.sources import TaskSplits


def _run(bench: Bench, splits: TaskSplits, runs: Sequence[Run]) -> Made:
    ((name, pairs),) = splits.evaluations.items()
    config: ProbeConfig = runs[0].settings
    checkpoint, limit = bench.pretrained.checkpoint, min(config.max_length, bench.pretrained.config.max_length)
    encodings = encode_texts(bench.pretrained.tokenizer, pairs.a, pairs.b, limit, f"{splits.task.title}, {name}")
    readouts = list(dict.fromkeys(run.readout for run in runs))
    features, share = read_once(bench, splits.task.title, encodings, readouts, config.batch_size)
    for run in runs:
        found = follow_probability(checkpoint, features[run.readout])
        answers = {name: (found > 0.5).astype(np.int32)}
        details = {"probability": count_probabilities(found, pairs.gold)}
        protocol = "the head that the encoder was pretrained with"
        yield make_row(run, splits, answers, share / len(runs), protocol=protocol, details=details)


regime = Regime("head", "Own head", ProbeConfig, _run, has_seeds=False, section="probe", joins_pairs=joins_all_pairs)
