"""RoBERTa, Table 2: the format of the input, and next-sentence prediction."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

table = Table(
    name="roberta-table2",
    title="Input format and next-sentence prediction",
    source="Liu et al. 2019, arXiv 1907.11692, Table 2",
    protocol="development sets, the median of 5 seeds; BERT-base's architecture, pretrained anew with each format",
    published_on="validation",
    columns=(
        Column("SQuAD 1.1", absent="extractive question answering is not implemented"),
        Column("SQuAD 2.0", absent="extractive question answering is not implemented"),
        Column("MNLI-m", "mnli"),
        Column("SST-2", "sst2"),
        Column("RACE", absent="multiple choice is not implemented"),
    ),
    encoders=(Encoder("nsp"), Encoder("no-nsp", pretrain={"objective.pairs": "none"})),
    lines=(
        Line("SEGMENT-PAIR+NSP", "nsp", ReadoutConfig("last", "cls", "tanh"), "90.4 78.7 84.0 92.9 64.2"),
        Line("DOC-SENTENCES", "no-nsp", ReadoutConfig("last", "cls", "mlp"), "90.6 79.7 84.7 92.7 65.6"),
        Line(
            "SENTENCE-PAIR+NSP",
            "nsp",
            ReadoutConfig("last", "cls", "tanh"),
            "88.7 76.2 82.9 92.1 63.0",
            absent="pairs of single sentences are not implemented",
        ),
        Line(
            "FULL-SENTENCES",
            "no-nsp",
            ReadoutConfig("last", "cls", "mlp"),
            "90.4 79.1 84.7 92.5 64.8",
            absent="examples that go on into the next document are not implemented",
        ),
    ),
    paper={"seeds": 5},
    secondary=True,
    notes=(
        "Published figures are medians, measured ones means.",
        "It contradicts Table 5 of BERT (bert-table5), where the model without NSP is the worse one.",
        "Without NSP the pooler has not been trained and is drawn afresh; with it, it starts as pretraining left it.",
    ),
)
