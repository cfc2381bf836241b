"""Sentence-BERT trained on inference (arXiv 1908.10084, Table 6, NLI): batch 16, one epoch, 2e-5, ten seeds.

The paper trains on SNLI and MultiNLI together, about a million pairs, and has 80.78 (mean), 79.07 (max) and 79.80
([CLS]) on the STS benchmark's development set. Not run for the record at that size yet. Name the training files:

python -m experiments.siamese sbert-nli --train FILES --sts-dir DIR
"""

from pathlib import Path

from bert_jax.config import SiameseConfig
from experiments.settings.sentence_pairs import SiameseRun

NAME = "sbert-nli"
config = SiameseRun(
    objective="nli",
    train=("mnli",),
    encoder="bert-base-uncased",
    out=Path("runs/sbert-nli"),
    poolings=("cls", "mean", "max"),
    seeds=10,
    siamese=SiameseConfig(),
)
