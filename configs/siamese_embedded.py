"""Sentence-BERT's classification on the embedded suite: a tiny BERT learns from entailment and is scored on similarity.

Its encoder is what configs/pretrain_tiny.py makes; another one is named with --encoder.

python -m experiments.siamese embedded
"""

from pathlib import Path

from bert_jax.config import OptimConfig, SiameseConfig
from experiments.settings import SiameseRun

NAME = "embedded"
config = SiameseRun(
    objective="nli",
    train=("embedded",),
    encoder="runs/tiny/model",
    out=Path("runs/siamese-embedded"),
    siamese=SiameseConfig(epochs=3, max_length=64, num_buckets=2, optim=OptimConfig(learning_rate=5e-4)),
)
