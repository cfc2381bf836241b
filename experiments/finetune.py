"""Fine-tune one encoder on one task with one readout and one seed, and keep the model.

python -m experiments.finetune --encoder bert-base-uncased --task mrpc --out runs/mrpc

This is a single run of an ablation: its row equals the row that `ablate_pooling` writes for the same settings.
"""

from pathlib import Path

from bert_jax.errors import InputError
from bert_jax.study.run import MODEL, Run
from bert_jax.study.store import Row, read_rows
from experiments.ablate_pooling import run_ablation
from experiments.cli import run
from experiments.settings.ablation import FinetuneRun


def main(config: FinetuneRun) -> None:
    """Fine-tune, and print the scores and the model's path.

    Raises:
        InputError: the settings are invalid, or the training diverges.
    """
    model = config.out / MODEL

    def model_of(run: Run) -> Path:
        if model.exists() and run.id not in {row.id for row in _rows(config)}:
            raise InputError(f"{model} is the model of another run; use another --out")
        return model

    (one,) = run_ablation(config.ablation(), range(config.seed, config.seed + 1), model_of)
    row = next(row for row in _rows(config) if row.id == one.id)
    if not row.ok:
        raise InputError(
            f"the loss was not finite at step {row.failed_step}; try a lower --finetune.optim.learning-rate"
        )
    for name, scores in row.metrics.items():
        print(f"{row.title}, {name}: " + ", ".join(f"{metric} {100 * value:.1f}" for metric, value in scores.items()))
    library = "sentence-transformers" if (model / "modules.json").exists() else "transformers"
    print(f"{model} is complete; it opens in {library}")


def _rows(config: FinetuneRun) -> list[Row]:
    return read_rows(config.out) if (config.out / "results.jsonl").exists() else []


if __name__ == "__main__":
    run(main, FinetuneRun)
