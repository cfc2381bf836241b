"""Linear probes: heads fitted on frozen vectors, which one pass of the encoder gives for all readouts."""

import time
from collections.abc import Sequence

from bert_jax.config import ProbeConfig
from bert_jax.evaluate.probe import describe, is_random, prepare_probe, probe
from bert_jax.study.kept import SCORES, TESTS
from bert_jax.study.regime import Bench, Made, Regime, lacks_training, make_row, read_once
from bert_jax.study.run import Run
from bert_jax.study.sources import TaskSplits
from bert_jax.study.store import SEEDLESS


def joins_pairs(config: ProbeConfig) -> bool:
    """True for `--probe.pairs joint`."""
    return config.pairs == "joint"


def run_probes(bench: Bench, splits: TaskSplits, runs: Sequence[Run]) -> Made:
    """Probe a task. The encoder reads the texts once for each `blind` among the runs."""
    assert splits.train is not None, "a probe needs training rows"
    config: ProbeConfig = runs[0].settings
    limit = min(config.max_length, bench.pretrained.config.max_length)
    tokenizer, task = bench.pretrained.tokenizer, splits.task
    sets = splits.evaluations | splits.tests
    data = prepare_probe(task, tokenizer, splits.train, splits.validation, sets, config, limit)
    for blind in dict.fromkeys(run.blind for run in runs):
        alike = [run for run in runs if run.blind == blind]
        readouts = list(dict.fromkeys(run.readout for run in alike))
        features, share = read_once(bench, task.title, data.encodings, readouts, config.batch_size, blind)
        for run in alike:
            start = time.perf_counter()
            found = probe(data, features, run.readout, config, run.seed)
            seconds = time.perf_counter() - start + share / len(alike)
            details = {"c": found.chosen} | ({} if is_random(task) else {SEEDLESS: True})
            protocol = describe(task, config)
            yield make_row(
                run, splits, found.predictions, seconds, logits=found.logits, protocol=protocol, details=details
            )


regime = Regime(
    "probe",
    "Linear probe",
    ProbeConfig,
    run_probes,
    lacks_training,
    is_random=is_random,
    suite="senteval",
    offered=True,
    keeps=(TESTS, SCORES),
    joins_pairs=joins_pairs,
)
