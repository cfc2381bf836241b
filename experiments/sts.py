"""Similarity of sentences without any training: cosines of an encoder's vectors against human scores.

STS12 to STS16, the STS benchmark and SICK-R in their published layouts. Ends with a table of Spearman's correlations
x 100 with paired differences, and each readout's anisotropy. An interrupted run goes on when the same command is given
again.
"""

from itertools import product

from bert_jax.checkpoints.directory import read_config, resolve
from bert_jax.errors import InputError
from bert_jax.evaluate.similarity import split_whitening
from bert_jax.files import plain
from bert_jax.model.readout import check
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.study.regimes import Run, Settings, open_store, run_grid
from bert_jax.tasks import sts
from bert_jax.tasks.task import Task
from experiments.cli import named, run
from experiments.settings import StsRun, expand_layers, make_grid
from experiments.sources import TaskSplits, describe_encoder, read_similarity


def main(config: StsRun) -> None:
    """Run what is missing of the grid, then report. What can be wrong is found before the encoder reads anything."""
    prepare_process()
    check_batch_sizes(config.sts)
    if config.encoder is None:
        raise InputError("--encoder is needed: a model directory, or a hub id such as bert-base-uncased")
    if config.sts_dir is None:
        raise InputError("--sts-dir is needed: the folder with STS12-en-test/ and the like")
    folder = resolve(config.encoder)
    bert = read_config(folder)
    readouts = make_grid(expand_layers(config.layers, bert.num_layers), config.poolings, config.projections)
    for readout in readouts:
        check(split_whitening(readout)[0], bert)
    read = {name: read_similarity(sts.SETS[name], config.sts_dir) for name in config.sets}
    there = {name: splits for name, splits in read.items() if splits is not None}
    if not there:
        raise InputError(f"{config.sts_dir} has none of the sets; give --sts-dir the folder that has STS12-en-test/")
    absent = {sts.SETS[name].title: "its folder is not there" for name in config.sets if name not in there}
    shared, settings = describe_encoder(config.encoder), Settings(sts=config.sts)
    store = open_store(config.out, shared, settings, ["sts"], {"sts": absent})
    grid = []
    for name, readout in product(there, readouts):
        cell = {"regime": "sts", "task": name, "readout": readout, "seed": 0}
        grid.append(Run("sts", sts.SETS[name], readout, None, 0, plain(shared | {"sts": config.sts} | cell)))

    def splits_of(regime: str, task: Task) -> TaskSplits:
        return there[task.name]

    run_grid(config.out, store, grid, splits_of, lambda: folder, settings)


if __name__ == "__main__":
    run(main, named(StsRun), default="sts")
