"""Ablate the readout of one encoder on several tasks: fine-tuned over several seeds, probed, or zero-shot.

Ends with a table of every readout on every task, the paired differences with 95% intervals, and a figure.
The same command continues an interrupted run.
"""

from functools import lru_cache
from pathlib import Path

from bert_jax.analysis.report import write_report
from bert_jax.checkpoints.directory import read_config
from bert_jax.config import BertConfig
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.study.grid import Grid, run_grid
from bert_jax.study.kept import SCORES, TESTS
from bert_jax.study.regime import ModelOf
from bert_jax.study.run import Run, name_encoder
from bert_jax.study.sources import Source, read_task
from bert_jax.train.pretrain import bert_config
from experiments.cli import command, named, run
from experiments.encoders import find_encoder, own_encoder
from experiments.settings.ablation import Ablation, SyntheticAblation
from experiments.settings.shared import find_tasks

MODELS = "models"


def main(config: Ablation) -> None:
    """Execute the missing runs of the grid, then write the report."""
    run_ablation(config, range(config.seeds), lambda run: config.out / MODELS / run.id)
    write_report(config.out)


def run_ablation(config: Ablation, seeds: range, model_of: ModelOf) -> list[Run]:
    """Execute the missing runs of an ablation and return all its runs. User errors are raised before any training.

    Args:
        config: settings of the ablation.
        seeds: seeds to run, instead of the config's.
        model_of: function from a run to the folder for its model, used if `config.save_models`.

    Raises:
        InputError: the settings, the data or the run folder are invalid.
    """
    prepare_process()
    for name, settings in config.regime_settings().items():
        check_batch_sizes(settings, f"--{name}.")
    source = Source(config.out / "data", config.glue_dir, train_rows=config.train_rows, tests=config.test)
    grid = Grid(
        out=config.out,
        architecture=_architecture(config),
        encoder=lambda: _encoder(config),
        settings=config.regime_settings(),
        tasks=find_tasks(config.tasks, config.suite),
        read=lambda task: read_task(source, task),
        readouts=config.readouts(),
        seeds=seeds,
        learning_rates=config.learning_rates,
        select=config.select,
        name=_name(config),
        labels={"train_rows": config.train_rows},
        together=config.together,
        model_of=model_of if config.save_models else None,
        keep=[kind for kind, wanted in ((TESTS, config.test), (SCORES, config.scores)) if wanted],
        command=command(),
    )
    return run_grid(grid)


def _name(config: Ablation) -> str:
    if config.encoder is None and isinstance(config, SyntheticAblation):
        return f"{config.pretrain.preset} pretrained on {config.documents} synthetic documents"
    return name_encoder(str(config.encoder))


def _architecture(config: Ablation) -> BertConfig:
    if config.encoder is None and isinstance(config, SyntheticAblation):
        return bert_config(config.pretrain, config.vocab.size)
    return read_config(_encoder(config))


@lru_cache
def _encoder(config: Ablation) -> Path:
    """Folder of the encoder; the synthetic suite's own is pretrained if missing."""
    if config.encoder is None and isinstance(config, SyntheticAblation):
        return own_encoder(config, config.out / "pretraining")
    return find_encoder(config.encoder)


if __name__ == "__main__":
    run(main, named(Ablation), default="synthetic")
