"""The spread of fine-tuning over seeds: BERT-base on GLUE, 20 of them."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

table = Table(
    name="mnli-seeds",
    title="Mean and spread of 20 fine-tunings of BERT-base",
    source="IBM/model-recycling, bert-base-uncased",
    protocol="20 seeds, mean and standard deviation; CoLA evidently by accuracy, which GLUE's server does not give",
    published_on="validation",
    columns=(
        Column("MNLI", "mnli"),
        Column("QNLI", "qnli"),
        Column("QQP", "qqp", metric="accuracy"),
        Column("SST-2", "sst2"),
        Column("MRPC", "mrpc", metric="accuracy"),
        Column("RTE", "rte"),
        Column("STS-B", "stsb"),
        Column("CoLA", "cola", metric="accuracy"),
        Column("WNLI", "wnli"),
    ),
    encoders=(Encoder("bert", "bert-base-uncased"),),
    lines=(
        Line(
            "BERT's pooler",
            "bert",
            ReadoutConfig("last", "cls", "tanh"),
            "83.73±.23 89.88±.75 90.27±.54 91.97±.42 81.99±1.61 59.98±2.04 85.86±.45 81.83±.49 50.56±6.41",
        ),
        Line("mean", "bert", ReadoutConfig("last", "mean")),
    ),
    paper={"seeds": 20},
    incomparable="the source's recipe, and the sets and metrics of its figures, are not known here in full",
)
