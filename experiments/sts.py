"""Measure zero-shot similarity of sentences: cosines of an encoder's vectors against human scores.

Reads STS12 to STS16, the STS benchmark and SICK-R in their published layouts. Ends with a table of Spearman's
correlations x 100 with paired differences, and each readout's anisotropy. The same command continues an interrupted
run.
"""

from bert_jax.analysis.report import write_report
from bert_jax.checkpoints.directory import read_config
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.study.grid import Grid, run_grid
from bert_jax.study.pair_sources import PairSource, with_sentences
from bert_jax.study.run import name_encoder
from bert_jax.study.sources import Source, TaskSplits, read_task, split_absent
from bert_jax.tasks.task import Task
from experiments.cli import command, named, run
from experiments.encoders import find_encoder
from experiments.settings.frozen import StsRun
from experiments.settings.shared import find_tasks


def main(config: StsRun) -> None:
    """Execute the missing runs of the grid, then write the report. User errors are raised before the encoder runs."""
    prepare_process()
    check_batch_sizes(config.sts)
    folder = find_encoder(config.encoder)
    bert = read_config(folder)
    source = Source(config.out / "data", sts_dir=config.sts_dir)
    tasks, absent = split_absent(source, find_tasks(config.sets, "sts"))
    grid = Grid(
        out=config.out,
        architecture=bert,
        encoder=lambda: folder,
        settings={"sts": config.sts},
        tasks=tasks,
        read=lambda task: _read(config, source, task),
        readouts=config.readouts(bert.num_layers),
        name=name_encoder(str(config.encoder)),
        absent=absent,
        command=command(),
    )
    run_grid(grid)
    write_report(config.out)


def _read(config: StsRun, source: Source, task: Task) -> TaskSplits:
    """The splits of a set, with the texts that whitening is fitted on as training texts."""
    splits, texts = read_task(source, task), PairSource("simcse", config.train, config.sts_dir, config.glue_dir)
    return with_sentences(splits, texts) if config.train else splits


if __name__ == "__main__":
    run(main, named(StsRun), default="sts")
