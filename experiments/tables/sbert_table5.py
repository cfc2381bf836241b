"""Sentence-BERT, Table 5: SentEval's transfer tasks on frozen sentence vectors."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

_TASKS = {"MR": "mr", "CR": "cr", "SUBJ": "subj", "MPQA": "mpqa", "SST": "sst2", "TREC": "trec", "MRPC": "mrpc"}

table = Table(
    name="sbert-table5",
    title="Linear probes: average of BERT's outputs, and [CLS]",
    source="Reimers and Gurevych 2019, arXiv 1908.10084, Table 5",
    protocol="SentEval: logistic regression on frozen vectors; ten folds of MR, CR, SUBJ and MPQA, else the test set",
    published_on="test",
    columns=(*(Column(title, task, "probe") for title, task in _TASKS.items()), Column("Average", regime="average")),
    encoders=(Encoder("bert", "bert-base-uncased"),),
    lines=(
        Line("Avg. BERT", "bert", ReadoutConfig("last", "mean"), "78.66 86.25 94.37 88.66 84.40 92.8 69.45 84.94"),
        Line("BERT CLS", "bert", ReadoutConfig("last", "cls"), "78.68 84.85 94.21 88.23 84.13 91.4 71.13 84.66"),
    ),
    paper={"probe.protocol": "senteval"},
    plain=False,
    notes=(
        "The paper does not say whether SentEval fitted its heads by scikit-learn or by torch; protocol senteval uses "
        "scikit-learn.",
    ),
)
