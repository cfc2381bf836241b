"""Sentence-BERT, Table 6: pooling of trained sentence vectors."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

table = Table(
    name="sbert-table6",
    title="Pooling in Sentence-BERT, trained on inference or on the STS benchmark",
    source="Reimers and Gurevych 2019, arXiv 1908.10084, Table 6",
    protocol="Spearman x 100 on the STS benchmark's development set, ten seeds; batch 16, 2e-5; SNLI and MultiNLI",
    published_on="validation",
    columns=(Column("NLI", "nli", "siamese"), Column("STSb", "sts", "siamese")),
    encoders=(Encoder("bert", "bert-base-uncased"),),
    lines=(
        Line("MEAN", "bert", ReadoutConfig("last", "mean"), "80.78 87.44"),
        Line("MAX", "bert", ReadoutConfig("last", "max"), "79.07 69.92"),
        Line("CLS", "bert", ReadoutConfig("last", "cls"), "79.80 86.62"),
    ),
    paper={"siamese.batch_size": 16, "siamese.epochs": 1, "siamese.optim.learning_rate": 2e-5, "seeds": 10},
    notes=("One epoch for both trainings; the paper does not say how many the STS benchmark had.",),
)
