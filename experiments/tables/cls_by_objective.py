"""Our own table: encoders by the objective over sentences that they were pretrained with, [CLS] beside the mean."""

from bert_jax.config import ReadoutConfig
from experiments.tables.nsp_pooling import table as nsp_pooling
from experiments.tables.table import Encoder, Line, Table

_ENCODERS = (
    ("BERT (NSP)", Encoder("bert", "bert-base-uncased")),
    ("ALBERT (order)", Encoder("albert", "albert-base-v2", pretrain={"objective.pairs": "sop"})),
    ("RoBERTa (none)", Encoder("roberta", "roberta-base", pretrain={"objective.pairs": "none"})),
    ("XLM-RoBERTa (none)", Encoder("xlm-roberta", "xlm-roberta-base", pretrain=None)),
    ("DistilBERT (none)", Encoder("distilbert", "distilbert-base-uncased", pretrain=None)),
    ("ELECTRA (none)", Encoder("electra", "google/electra-base-discriminator", pretrain=None)),
    ("ModernBERT (none)", Encoder("modernbert", "answerdotai/ModernBERT-base", pretrain=None)),
)

table = Table(
    name="cls-by-objective",
    title="Encoders by their objective over sentences x [CLS] or the mean, in three regimes",
    source="ours: nothing is published",
    protocol="",
    columns=nsp_pooling.columns,
    encoders=tuple(encoder for _, encoder in _ENCODERS),
    lines=tuple(
        Line(f"{title} {pooling}", encoder.name, ReadoutConfig("last", pooling), against=against)
        for title, encoder in _ENCODERS
        for pooling, against in (("cls", ""), ("mean", f"{title} cls"))
    ),
    paper={"seeds": 5},
    notes=(
        "At other scales than base, a BERT is pretrained with each objective: next sentence, sentence order, and none "
        "in RoBERTa's place. The encoders of scale base also differ in text and length of pretraining, and in size.",
        "NSP: next sentence; order: sentence order; none: no objective over sentences. DistilBERT learned from a BERT, "
        "ELECTRA finds replaced tokens.",
        "CamemBERT, which is French, is left out: the tasks are English.",
    ),
)
