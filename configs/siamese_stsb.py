"""Sentence-BERT trained on the STS benchmark (arXiv 1908.10084, Table 6, STSb): cosine regression, batch 16.

The paper has 87.44 (mean), 69.92 (max) and 86.62 ([CLS]) on the development set, with bert-base and ten seeds. Not run
for the record yet.

python -m experiments.siamese sbert-stsb --sts-dir DIR
"""

from pathlib import Path

from bert_jax.config import SiameseConfig
from experiments.settings.sentence_pairs import SiameseRun

NAME = "sbert-stsb"
config = SiameseRun(
    objective="sts",
    train=("stsb",),
    encoder="bert-base-uncased",
    out=Path("runs/sbert-stsb"),
    poolings=("cls", "mean", "max"),
    seeds=10,
    siamese=SiameseConfig(epochs=4),
)
