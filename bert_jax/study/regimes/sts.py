"""Zero-shot similarity: cosines of sentence vectors against human scores, without any training."""

import time
from collections.abc import Sequence

import numpy as np

from bert_jax.config import BertConfig, ReadoutConfig, StsConfig
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
    data = prepare_similarity(bench.pretrained.tokenizer, pairs, limit, splits.task.title)
    plain = list(dict.fromkeys(split_whitening(run.readout)[0] for run in runs))
    features, share = read_once(bench, splits.task.title, data.encodings, plain, config.batch_size)
    metric = "spearman" if config.aggregation == "all" else f"spearman_{config.aggregation}"
    for run in runs:
        start = time.perf_counter()
        readout, whitened, size = split_whitening(run.readout)
        vectors = features[readout]
        vectors = whiten(vectors, size) if whitened else vectors
        found = cosines(vectors[data.a], vectors[data.b])
        score = agreement(found, data.scores, subsets, config.aggregation)
        row, *_ = make_row(
            run,
            splits,
            {},
            time.perf_counter() - start + share / len(runs),
            protocol=_describe(config, whitened),
            details=_details(vectors, splits.subsets),
            metric=metric,
            metrics={name: {metric: score}},
            majority={name: {metric: 0.0}},
            train_examples=0,
        )
        yield row, {name: (found, data.scores)}, {}


def _details(vectors: np.ndarray, subsets: dict[str, int]) -> Json:
    found = {"anisotropy": anisotropy(vectors), "subsets": subsets}
    return {name: value for name, value in found.items() if value is not None and value != {}}


def _describe(config: StsConfig, whitened: bool) -> str:
    over = {
        "all": "over all pairs of a set (aggregation all)",
        "mean": "averaged over subsets (aggregation mean, not comparable with all)",
        "wmean": "averaged over subsets by their pairs (aggregation wmean, not comparable with all)",
    }[config.aggregation]
    fitted = ", whitened on the texts of the set itself, without their scores" if whitened else ""
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
