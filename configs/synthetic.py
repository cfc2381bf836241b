"""[CLS], mean and max pooling on the synthetic suite, from nothing: pretrains a small BERT, fine-tunes it, probes it.

Six tasks, three readouts, two regimes, four seeds (results/synthetic).

python -m experiments.ablate_pooling synthetic
"""

from pathlib import Path

from bert_jax.config import FinetuneConfig, OptimConfig
from bert_jax.pretrain_config import ObjectiveConfig, PretrainConfig, VocabConfig
from bert_jax.tasks import synthetic
from experiments.settings.ablation import SyntheticAblation

NAME = "synthetic"
config = SyntheticAblation(
    suite="synthetic",
    tasks=tuple(synthetic.TASKS),
    out=Path("runs/synthetic"),
    poolings=("cls", "mean", "max"),
    regimes=("finetune", "probe"),
    seeds=4,
    finetune=FinetuneConfig(
        epochs=3, eval_batch_size=100, num_buckets=1, max_length=64, optim=OptimConfig(learning_rate=1e-3)
    ),
    documents=4000,
    vocab=VocabConfig(size=600, algorithm="bpe"),
    pretrain=PretrainConfig(
        preset="2/64/4",
        max_length=48,
        steps=2500,
        batch_size=32,
        objective=ObjectiveConfig(mask_rate=0.25),
        dropout=0.0,
        attention_dropout=0.0,
        optim=OptimConfig(learning_rate=3e-3),
    ),
)
