"""Sentence-BERT, Table 1: zero-shot similarity."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

table = Table(
    name="sbert-table1",
    title="Zero-shot similarity: average of BERT's outputs, and [CLS]",
    source="Reimers and Gurevych 2019, arXiv 1908.10084, Table 1",
    protocol="Spearman of the cosine x 100 over all pairs of a set, test sets, bert-base-uncased as it is",
    published_on="test",
    columns=(
        *(Column(f"STS{year}", f"sts{year}", "sts") for year in (12, 13, 14, 15, 16)),
        Column("STSb", "stsb", "sts"),
        Column("SICK-R", "sickr", "sts"),
        Column("Average", regime="average"),
    ),
    encoders=(Encoder("bert", "bert-base-uncased"),),
    lines=(
        Line(
            "Avg. GloVe",
            "",
            ReadoutConfig(),
            "55.14 70.66 59.73 68.25 63.66 58.02 53.76 61.32",
            absent="word vectors are no encoder",
        ),
        Line("Avg. BERT", "bert", ReadoutConfig("last", "mean"), "38.78 57.98 57.98 63.15 61.06 46.35 58.40 54.81"),
        Line("BERT CLS", "bert", ReadoutConfig("last", "cls"), "20.16 30.01 20.09 36.88 38.08 16.50 42.63 29.19"),
        Line(
            "SBERT-NLI-base",
            "",
            ReadoutConfig("last", "mean"),
            "- - - - - - - 74.89",
            absent="train it with experiments.siamese sbert-nli --save, then name it to experiments.sts",
        ),
    ),
    plain=False,
)
