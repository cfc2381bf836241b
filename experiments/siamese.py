"""Train sentence vectors on pairs of sentences (Sentence-BERT, SimCSE) with several readouts, and compare them.

Ends with a table of the Spearman correlation of the cosine with human scores, and paired differences between readouts.
The same command continues an interrupted run.
"""

import re
from pathlib import Path

from bert_jax.analysis.report import write_report
from bert_jax.checkpoints.directory import read_config
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.study.grid import Grid, run_grid
from bert_jax.study.pair_sources import PairSource, objective_task, read_pairs
from bert_jax.study.run import Run, name_encoder
from experiments.cli import command, named, run
from experiments.encoders import find_encoder
from experiments.settings.sentence_pairs import SiameseRun

MODELS = "models"


def main(config: SiameseRun) -> None:
    """Execute the missing runs of the grid, then write the report. User errors are raised before any training."""
    prepare_process()
    check_batch_sizes(config.siamese, "--siamese.")
    folder = find_encoder(config.encoder)
    source = PairSource(config.objective, config.train, config.sts_dir, config.glue_dir, config.train_rows)
    grid = Grid(
        out=config.out,
        architecture=read_config(folder),
        encoder=lambda: folder,
        settings={"siamese": config.siamese},
        tasks=[objective_task(config.objective, config.sts_dir is None)],
        read=lambda task: read_pairs(source),
        readouts=config.readouts(),
        seeds=range(config.seeds),
        name=name_encoder(config.encoder),
        labels={"train_rows": config.train_rows},
        together=config.together,
        model_of=(lambda run: _model_of(config, run)) if config.save else None,
        command=command(),
    )
    run_grid(grid)
    write_report(config.out)


def _model_of(config: SiameseRun, run: Run) -> Path:
    name = re.sub(r"[^\w.+-]+", "-", str(run.readout))
    return config.out / MODELS / f"{name}-seed{run.seed}"


if __name__ == "__main__":
    run(main, named(SiameseRun))
