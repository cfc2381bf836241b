"""Fine-tune one encoder on one task with one readout and one seed, and keep the model.

python -m experiments.finetune --encoder bert-base-uncased --task mrpc --out runs/mrpc

It is one run of an ablation: the row that it writes is the row that `ablate_pooling` writes for the same settings.
"""

from bert_jax.errors import InputError
from bert_jax.study.store import read_rows
from experiments.ablate_pooling import finetuning, run_ablation
from experiments.cli import run
from experiments.settings import MODEL, SUITES, FinetuneRun


def main(config: FinetuneRun) -> None:
    """Fine-tune as `config` says, and say what came of it.

    Raises:
        InputError: what the user gave is wrong, or the training diverges.
    """
    ablation, model = config.ablation(), config.out / MODEL
    task = SUITES[ablation.suite][config.task]
    (readout,) = ablation.readouts()
    one = finetuning(ablation, task, readout, config.finetune.optim.learning_rate, config.seed)
    if model.exists() and one.id not in {row.id for row in _rows(config)}:
        raise InputError(f"{model} is the model of another run; use another --out")
    run_ablation(ablation, [one], lambda _: model)
    row = next(row for row in _rows(config) if row.id == one.id)
    if not row.ok:
        raise InputError(
            f"the loss was not finite at step {row.failed_step}; try a lower --finetune.optim.learning-rate"
        )
    for name, scores in row.metrics.items():
        print(f"{row.title}, {name}: " + ", ".join(f"{metric} {100 * value:.1f}" for metric, value in scores.items()))
    library = "sentence-transformers" if (model / "modules.json").exists() else "transformers"
    print(f"{model} is complete; it opens in {library}")


def _rows(config: FinetuneRun) -> list:
    return read_rows(config.out) if (config.out / "results.jsonl").exists() else []


if __name__ == "__main__":
    run(main, FinetuneRun)
