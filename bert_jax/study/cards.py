"""Model cards of single runs."""

from bert_jax.checkpoints.card import make_card, rounded
from bert_jax.config import BertConfig
from bert_jax.study.store import Row


def finetuning_card(name: str, use: str, config: BertConfig, row: Row) -> str:
    """Write the model card of one fine-tuning."""
    from huggingface_hub import EvalResult

    summary = (
        f"An encoder ({row.config.get('encoder', 'unknown')}) fine-tuned on {row.title} with bert_jax; the "
        f"sentence is read as {row.readout} (layers/pooling/projection), seed {row.seed}."
    )
    if use == "sentence-similarity":
        summary += " Its sentence-transformers embedding is the classifier's output, a value for each class."
    results = [
        EvalResult("text-classification", row.task, row.title, metric, round(value, 4), dataset_split=split)
        for split, scores in row.metrics.items()
        for metric, value in scores.items()
    ]
    scores = {split: rounded(scores) for split, scores in row.metrics.items()}
    sections = {
        "Results": {
            **scores,
            "best constant answer": {split: rounded(scores) for split, scores in row.majority.items()},
        },
        "Data": f"{row.title}: {row.train_examples:,} training examples; evaluated on "
        + ", ".join(f"{count:,} of {split}" for split, count in row.evaluation_examples.items())
        + ".",
        "Training": {**row.config, "protocol": row.protocol, "seconds": row.seconds},
    }
    return make_card(name, use, summary, config, sections, results)
