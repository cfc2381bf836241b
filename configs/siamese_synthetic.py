"""Sentence-BERT's classification on the synthetic suite: a tiny BERT is trained on entailment, scored on similarity.

Its encoder is what configs/pretrain_tiny.py makes; another one is named with --encoder.

python -m experiments.siamese synthetic
"""

from pathlib import Path

from bert_jax.config import OptimConfig, SiameseConfig
from experiments.settings.sentence_pairs import SiameseRun

NAME = "synthetic"
config = SiameseRun(
    objective="nli",
    train=("synthetic",),
    encoder="runs/tiny/model",
    out=Path("runs/siamese-synthetic"),
    siamese=SiameseConfig(epochs=3, max_length=64, num_buckets=2, optim=OptimConfig(learning_rate=5e-4)),
)
