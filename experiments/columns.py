"""The columns of a table: the data that each is measured on, and the reasons why one cannot be measured."""

from functools import lru_cache

from bert_jax.errors import InputError
from bert_jax.study.pair_sources import SYNTHETIC, PairSource, read_pairs, with_sentences
from bert_jax.study.regimes import REGIMES
from bert_jax.study.sources import Source, TaskSplits, read_task
from bert_jax.tasks.suites import SUITES, find_task
from experiments.scales import STAND_INS, Reproduce
from experiments.tables.table import Column

PAIRS = "siamese"
"""The regime whose tasks are objectives."""


def stand_in(column: Column, config: Reproduce) -> Column | None:
    """The column to measure: at scale tiny, that of the synthetic task used instead; None if there is no such task."""
    if config.scale != "tiny" or column.regime in (PAIRS, "pretraining", "average"):
        return column
    task = STAND_INS.get(column.task)
    if task is None or column.evaluation:
        return None
    known = not column.metric or column.metric in SUITES[SYNTHETIC][task].metrics
    return Column(column.title, task, column.regime, SYNTHETIC, "", column.metric) if known else None


@lru_cache(maxsize=64)
def missing(column: Column, config: Reproduce) -> str:
    """The reason why a column cannot be measured with the available data; empty if it can."""
    if column.absent or column.regime in ("average", "pretraining"):
        return column.absent
    measured = stand_in(column, config)
    if measured is None:
        return "no synthetic task replaces it"
    if column.regime == PAIRS:
        return _missing_pairs(column, config)
    try:
        return REGIMES[column.regime].why_not(read_column(measured, config).task) or ""
    except InputError as error:
        return _with_flags(str(error).partition("\n")[0], config)


def _with_flags(text: str, config: Reproduce) -> str:
    """A message with the user's folders replaced by their flags, because a table is also read on other machines."""
    for flag in ("glue_dir", "senteval_dir", "sts_dir"):
        if (place := getattr(config, flag)) is not None:
            text = text.replace(str(place), f"--{flag.replace('_', '-')}")
    return text


def _missing_pairs(column: Column, config: Reproduce) -> str:
    if config.scale == "tiny":
        return ""
    if config.sts_dir is None:
        return "--sts-dir is needed: the folder that holds STSBenchmark/"
    flag = {"nli": "nli", "simcse": "sentences"}.get(column.task)
    return f"--{flag} is needed: the training data" if flag and not getattr(config, flag) else ""


@lru_cache(maxsize=64)
def read_column(column: Column, config: Reproduce) -> TaskSplits:
    """The splits of a column's task.

    Raises:
        InputError: the splits are missing or damaged.
    """
    if column.regime == PAIRS:
        names = {"nli": config.nli, "simcse": config.sentences}.get(column.task, ("stsb",))
        return read_pairs(_pair_source(column.task, names, config))
    source = Source(config.out / "data", config.glue_dir, config.senteval_dir, config.sts_dir, config.train_rows)
    splits = read_task(source, find_task(column.task, column.source()))
    if column.regime != "sts" or config.sts.whitening == "set":
        return splits
    if not config.nli and config.scale != "tiny":
        raise InputError("--nli is needed: the texts that whitening is fitted on")
    return with_sentences(splits, _pair_source("simcse", config.nli, config))


def _pair_source(objective: str, names: tuple[str, ...], config: Reproduce) -> PairSource:
    train, folder = ((SYNTHETIC,), None) if config.scale == "tiny" else (names, config.sts_dir)
    return PairSource(objective, train, folder, config.glue_dir, config.train_rows)
