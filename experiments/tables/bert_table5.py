"""BERT, Table 5: pretraining without next-sentence prediction, and from left to right."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

table = Table(
    name="bert-table5",
    title="Pretraining tasks: no NSP; left to right and no NSP",
    source="Devlin et al. 2019, arXiv 1810.04805v2, Table 5",
    protocol="development sets; BERT-base's architecture, pretrained anew with each objective",
    published_on="validation",
    columns=(
        Column("MNLI-m", "mnli"),
        Column("QNLI", "qnli"),
        Column("MRPC", "mrpc"),
        Column("SST-2", "sst2"),
        Column("SQuAD F1", absent="extractive question answering is not implemented"),
    ),
    encoders=(
        Encoder("nsp"),
        Encoder("no-nsp", pretrain={"objective.pairs": "none"}),
        Encoder("ltr", pretrain={"objective.tokens": "ltr", "objective.pairs": "none"}),
    ),
    lines=(
        Line("BERT", "nsp", ReadoutConfig("last", "cls", "tanh"), "84.4 88.4 86.7 92.7 88.5"),
        Line("No NSP", "no-nsp", ReadoutConfig("last", "cls", "mlp"), "83.9 84.9 86.5 92.6 87.9"),
        Line("LTR & No NSP", "ltr", ReadoutConfig("last", "last_token", "mlp"), "82.1 84.3 77.5 92.1 77.8"),
        Line(
            "+ BiLSTM",
            "ltr",
            ReadoutConfig("last", "last_token", "mlp"),
            "82.1 84.1 75.7 91.6 84.9",
            absent="a BiLSTM is not implemented",
        ),
    ),
    paper={"finetune.batch_size": 32, "finetune.epochs": 3, "finetune.optim.learning_rate": 3e-5},
    notes=(
        "Without NSP the pooler has not been trained and is drawn afresh; with it, it starts as pretraining left it.",
        "From left to right, [CLS] has read nothing: the last token is read. The paper does not say what it read.",
    ),
)
