"""Probe a frozen encoder: a linear head on every layer and pooling, on SentEval's sets, GLUE or the synthetic suite.

The encoder reads every text once for all layers and poolings. Ends with a table and a heat map, layer x pooling, of
each task. An interrupted run goes on where it was when the same command is given again.
"""

from functools import partial
from itertools import product
from pathlib import Path

from bert_jax.checkpoints.directory import read_config, resolve
from bert_jax.errors import InputError
from bert_jax.files import plain
from bert_jax.model.readout import check
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.study.regimes import Run, Settings, open_store, run_grid
from bert_jax.tasks import senteval
from bert_jax.tasks.task import Task
from experiments.cli import named, run
from experiments.settings import SUITES, ProbeRun, expand_layers, make_grid
from experiments.sources import Source, TaskSplits, describe_encoder, read_task


def main(config: ProbeRun) -> None:
    """Run what is missing of the grid, then report. What can be wrong is found before the encoder reads anything."""
    prepare_process()
    check_batch_sizes(config.probe)
    folder = _encoder_dir(config)
    bert = read_config(folder)
    readouts = make_grid(expand_layers(config.layers, bert.num_layers), config.poolings, config.projections)
    for readout in readouts:
        check(readout, bert)
    tasks = [SUITES[config.suite][name] for name in config.tasks]
    absent = _absent(config, tasks)
    shared = {"suite": config.suite, "train_rows": config.train_rows} | describe_encoder(str(config.encoder))
    settings = Settings(probe=config.probe)
    store = open_store(config.out, shared, settings, ["probe"], {"probe": absent})
    grid = []
    for task, seed, readout in product(tasks, range(config.seeds), readouts):
        cell = {"regime": "probe", "task": task.name, "readout": readout, "seed": seed}
        if task.title not in absent:
            grid.append(Run("probe", task, readout, None, seed, plain(shared | {"probe": config.probe} | cell)))
    run_grid(config.out, store, grid, partial(_read, config), lambda: folder, settings)


def _encoder_dir(config: ProbeRun) -> Path:
    if config.encoder is None:
        raise InputError("--encoder is needed: a model directory, or a hub id such as bert-base-uncased")
    return resolve(config.encoder)


def _absent(config: ProbeRun, tasks: list[Task]) -> dict[str, str]:
    """title -> what is missing, of the tasks that the folder does not have whole."""
    if config.suite != "senteval":
        return {}
    if config.senteval_dir is None:
        raise InputError("--senteval-dir is needed: the folder with MR/, CR/, SST/ ..., SentEval's data/downstream")
    missing = {task.title: senteval.why_absent(task, config.senteval_dir) for task in tasks}
    # A report is read on other machines, too.
    absent = {title: why.replace(str(config.senteval_dir), "--senteval-dir") for title, why in missing.items() if why}
    if len(absent) == len(tasks):
        raise InputError(f"--senteval-dir has none of the tasks: {'; '.join(absent.values())}")
    return absent


def _read(config: ProbeRun, regime: str, task: Task) -> TaskSplits:
    data = config.out / "data"
    return read_task(Source(config.suite, data, config.glue_dir, config.senteval_dir, config.train_rows), task)


if __name__ == "__main__":
    run(main, named(ProbeRun), default="senteval")
