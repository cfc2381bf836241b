"""Zero-shot similarity: cosines of sentence vectors against human scores, without any training."""

import time
from collections.abc import Sequence

import numpy as np

from bert_jax.config import BertConfig, ReadoutConfig, StsConfig
from bert_jax.data.batching import encode_texts
from bert_jax.errors import InputError
from bert_jax.evaluate.similarity import agreement, anisotropy, cosines, prepare_similarity, split_whitening, whiten
from bert_jax.files import Json
from bert_jax.model.readout import check
from bert_jax.pretrained import Pretrained
from bert_jax.study.regime import Bench, Made, Regime, make_row, read_once
from bert_jax.study.run import Run
from bert_jax.study.sources import TaskSplits
from bert_jax.tasks.task import Task


def _why_not(task: Task) -> str | None:
    fits = task.is_regression and len(task.texts) == 2
    return None if fits else "zero-shot similarity needs pairs with scores"


def _run(bench: Bench, splits: TaskSplits, runs: Sequence[Run]) -> Made:
    ((name, pairs),) = splits.evaluations.items()
    config, subsets = runs[0].settings, list(splits.subsets.values())
    limit = min(config.max_length, bench.pretrained.config.max_length)
    tokenizer, title = bench.pretrained.tokenizer, splits.task.title
    data = prepare_similarity(tokenizer, pairs, limit, title)
    plain = list(dict.fromkeys(split_whitening(run.readout)[0] for run in runs))
    known = _training_texts(splits, runs)
    encodings = data.encodings + encode_texts(tokenizer, known, None, limit, "the training texts")
    features, share = read_once(bench, title, encodings, plain, config.batch_size)
    own = len(data.encodings)
    metric = "spearman" if config.aggregation == "all" else f"spearman_{config.aggregation}"
    for run in runs:
        start = time.perf_counter()
        readout, whitened, size = split_whitening(run.readout)
        vectors, others = features[readout][:own], features[readout][own:]
        vectors = whiten(vectors, size, others if known else None) if whitened else vectors
        found = cosines(vectors[data.a], vectors[data.b])
        score = agreement(found, data.scores, subsets, config.aggregation)
        row, *_ = make_row(
            run,
            splits,
            {},
            time.perf_counter() - start + share / len(runs),
            protocol=_describe(config, whitened, len(known)),
            details=_details(vectors, splits.subsets),
            metric=metric,
            metrics={name: {metric: score}},
            majority={name: {metric: 0.0}},
            train_examples=len(known) if whitened else 0,
        )
        yield row, {name: (found, data.scores)}, {}


def _training_texts(splits: TaskSplits, runs: Sequence[Run]) -> list[str]:
    """The distinct texts that whitening is fitted on; none if it is fitted on those of the set itself."""
    if runs[0].settings.whitening == "set" or not any(split_whitening(run.readout)[1] for run in runs):
        return []
    if splits.train is None:
        raise InputError(f"{splits.task.title} has no training texts to fit whitening on; use whitening set")
    return list(dict.fromkeys([*splits.train.a, *(splits.train.b or ())]))


def _details(vectors: np.ndarray, subsets: dict[str, int]) -> Json:
    found = {"anisotropy": anisotropy(vectors), "subsets": subsets}
    return {name: value for name, value in found.items() if value is not None and value != {}}


def _describe(config: StsConfig, whitened: bool, known: int) -> str:
    over = {
        "all": "over all pairs of a set (aggregation all)",
        "mean": "averaged over subsets (aggregation mean, not comparable with all)",
        "wmean": "averaged over subsets by their pairs (aggregation wmean, not comparable with all)",
    }[config.aggregation]
    texts = (
        f"{known:,} training texts, without labels" if known else "the texts of the set itself, without their scores"
    )
    fitted = f", whitened on {texts}" if whitened else ""
    return f"Spearman of cosines {over}{fitted}"


def _check(readout: ReadoutConfig, bert: BertConfig, config: StsConfig) -> None:
    check(split_whitening(readout)[0], bert)


def _check_weights(pretrained: Pretrained, readout: ReadoutConfig) -> None:
    pretrained.reader_params(split_whitening(readout)[0])


regime = Regime(
    "sts",
    "Zero-shot",
    StsConfig,
    _run,
    _why_not,
    has_seeds=False,
    suite="sts",
    offered=True,
    check=_check,
    check_weights=_check_weights,
)
