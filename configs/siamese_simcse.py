"""Unsupervised SimCSE (arXiv 2104.08821): batch 64, 3e-5, temperature 0.05, [CLS] with an MLP in training only.

The paper trains one epoch on a million sentences of Wikipedia and keeps the best checkpoint by the STS benchmark's
development set, where it has 82.5 (Table 6); here the last one is kept. Not run for the record yet. Name the sentences:

python -m experiments.siamese simcse --train SENTENCES.txt --sts-dir DIR
"""

from pathlib import Path

from bert_jax.config import OptimConfig, SiameseConfig
from experiments.settings.sentence_pairs import SiameseRun

NAME = "simcse"
config = SiameseRun(
    objective="simcse",
    train=("sentences.txt",),
    encoder="bert-base-uncased",
    out=Path("runs/simcse"),
    siamese=SiameseConfig(
        batch_size=64,
        max_length=32,
        num_buckets=3,
        dropout=0.1,
        training_projection="mlp",
        optim=OptimConfig(learning_rate=3e-5, warmup=0.0, weight_decay=0.0),
    ),
)
