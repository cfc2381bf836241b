"""BERT, Table 1: GLUE."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

POOLER = ReadoutConfig("last", "cls", "tanh")

table = Table(
    name="bert-table1",
    title="BERT-base and BERT-large on GLUE",
    source="Devlin et al. 2019, arXiv 1810.04805v2, Table 1",
    protocol="GLUE's test server; batch 32, 3 epochs, the best of four learning rates on the development set",
    published_on="test",
    columns=(
        Column("MNLI-m", "mnli"),
        Column("MNLI-mm", "mnli", evaluation="validation_mismatched"),
        Column("QQP F1", "qqp", metric="f1"),
        Column("QNLI", "qnli"),
        Column("SST-2", "sst2"),
        Column("CoLA", "cola"),
        Column("STS-B rho", "stsb", metric="spearman"),
        Column("MRPC F1", "mrpc", metric="f1"),
        Column("RTE", "rte"),
        Column("Average", regime="average"),
    ),
    encoders=(
        Encoder("base", "bert-base-uncased", sizes={"tiny": "2/128/2", "mini": "mini", "base": "base"}),
        Encoder("large", "bert-large-uncased", sizes={"tiny": "3/128/2", "mini": "6/256/4", "base": "large"}),
    ),
    lines=(
        Line("BERT-base", "base", POOLER, "84.6 83.4 71.2 90.5 93.5 52.1 85.8 88.9 66.4 79.6"),
        Line("BERT-large", "large", POOLER, "86.7 85.9 72.1 92.7 94.9 60.5 86.5 89.3 70.1 82.1"),
    ),
    paper={
        "finetune.batch_size": 32,
        "finetune.epochs": 3,
        "learning_rates": (5e-5, 4e-5, 3e-5, 2e-5),
    },
    notes=(
        "The test labels are hidden, so the development sets are scored; on these the learning rate is chosen, too.",
    ),
)
