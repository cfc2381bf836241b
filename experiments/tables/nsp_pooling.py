"""Our own table: pooling of next-sentence prediction in pretraining x pooling of sentences afterwards."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

_ENCODERS = {
    "nsp-cls": ("NSP from [CLS]", {}),
    "nsp-mean": ("NSP from the mean", {"nsp_readout.pooling": "mean"}),
    "no-nsp": ("no NSP", {"objective.pairs": "none"}),
}

table = Table(
    name="nsp-pooling",
    title="Where NSP is read in pretraining x where a sentence is read afterwards",
    source="ours: nothing is published",
    protocol="",
    columns=(
        Column("CoLA", "cola"),
        Column("SST-2", "sst2"),
        Column("MRPC", "mrpc"),
        Column("STS-B", "stsb"),
        Column("CoLA probe", "cola", "probe", "glue"),
        Column("SST-2 probe", "sst2", "probe", "glue"),
        Column("MRPC probe", "mrpc", "probe", "glue"),
        Column("STS-B zero-shot", "stsb", "sts"),
    ),
    encoders=tuple(Encoder(name, pretrain=changes) for name, (_, changes) in _ENCODERS.items()),
    lines=tuple(
        Line(f"{title}, {pooling}", name, ReadoutConfig("last", pooling))
        for name, (title, _) in _ENCODERS.items()
        for pooling in ("cls", "mean")
    ),
    paper={"seeds": 5},
)
