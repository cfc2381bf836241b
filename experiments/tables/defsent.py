"""DefSent: sentence vectors trained to predict a word from its definition, one checkpoint for each pooling."""

from bert_jax.config import ReadoutConfig
from experiments.tables.sbert_table1 import table as sbert_table1
from experiments.tables.table import Encoder, Line, Table

_PUBLISHED = {
    "cls": "67.61 80.44 70.12 77.50 76.34 75.25 71.71 74.14",
    "mean": "68.24 82.62 72.80 78.44 76.79 77.50 71.69 75.44",
    "max": "65.32 82.00 73.00 77.38 75.84 76.74 71.67 74.57",
}

table = Table(
    name="defsent",
    title="Zero-shot similarity of DefSent, a checkpoint trained for each pooling",
    source="hppRC/defsent (Tsukagoshi et al. 2021, arXiv 2105.04339)",
    protocol="Spearman of the cosine x 100, test sets, BERT-base tuned on definitions with this pooling",
    published_on="test",
    columns=sbert_table1.columns,
    encoders=tuple(Encoder(pooling, f"cl-nagoya/defsent-bert-base-uncased-{pooling}") for pooling in _PUBLISHED),
    lines=tuple(
        Line(pooling, pooling, ReadoutConfig("last", pooling), published) for pooling, published in _PUBLISHED.items()
    ),
    plain=False,
    notes=("At other scales than base, one plain BERT stands for the three: this training is not implemented.",),
)
