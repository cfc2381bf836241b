"""Five claims about [CLS] on the synthetic suite: pretrains two tiny BERTs, with and without next-sentence prediction.

python -m experiments.what_is_in_cls cls-synthetic
"""

from pathlib import Path

from bert_jax.config import FinetuneConfig, OptimConfig, ProbeConfig
from bert_jax.pretrain_config import PretrainConfig, VocabConfig
from bert_jax.tasks import synthetic
from experiments.settings.claims import ClsRun

NAME = "cls-synthetic"
config = ClsRun(
    tasks=tuple(f"synthetic/{name}" for name in synthetic.TASKS),
    out=Path("runs/what-is-in-cls/synthetic"),
    probe=ProbeConfig(max_length=64),
    finetune=FinetuneConfig(epochs=3, num_buckets=2, max_length=64, optim=OptimConfig(learning_rate=5e-4)),
    documents=4000,
    vocab=VocabConfig(size=600, algorithm="bpe"),
    pretrain=PretrainConfig(
        preset="tiny",
        max_length=40,
        steps=1200,
        batch_size=64,
        dropout=0.0,
        attention_dropout=0.0,
        optim=OptimConfig(learning_rate=2e-3),
    ),
)
