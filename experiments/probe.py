"""Probe a frozen encoder: a linear head on every layer and pooling, on SentEval's sets, GLUE or the synthetic suite.

The encoder reads every text once for all layers and poolings. Ends with a table, and a heat map (layer x pooling) of
each task. The same command continues an interrupted run.
"""

from bert_jax.analysis.report import write_report
from bert_jax.checkpoints.directory import read_config
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.study.grid import Grid, run_grid
from bert_jax.study.run import name_encoder
from bert_jax.study.sources import Source, read_task, split_absent
from experiments.cli import command, named, run
from experiments.encoders import find_encoder
from experiments.settings.frozen import ProbeRun
from experiments.settings.shared import find_tasks


def main(config: ProbeRun) -> None:
    """Execute the missing runs of the grid, then write the report. User errors are raised before the encoder runs."""
    prepare_process()
    check_batch_sizes(config.probe)
    folder = find_encoder(config.encoder)
    bert = read_config(folder)
    source = Source(config.out / "data", config.glue_dir, config.senteval_dir, train_rows=config.train_rows)
    tasks, absent = split_absent(source, find_tasks(config.tasks, config.suite))
    grid = Grid(
        out=config.out,
        architecture=bert,
        encoder=lambda: folder,
        settings={"probe": config.probe},
        tasks=tasks,
        read=lambda task: read_task(source, task),
        readouts=config.readouts(bert.num_layers),
        seeds=range(config.seeds),
        name=name_encoder(str(config.encoder)),
        labels={"train_rows": config.train_rows},
        absent=absent,
        command=command(),
    )
    run_grid(grid)
    write_report(config.out)


if __name__ == "__main__":
    run(main, named(ProbeRun), default="senteval")
