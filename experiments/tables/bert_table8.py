"""BERT, Table 8: masking, with different shares of [MASK], the same token and a random token."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

POOLER = ReadoutConfig("last", "cls", "tanh")
_RATES = {
    "80/10/10": "84.2 95.4 94.9 - - -",
    "100/0/0": "84.3 94.9 94.0 - - -",
    "80/0/20": "84.1 95.2 94.6 - - -",
    "80/20/0": "84.4 95.2 94.7 - - -",
    "0/20/80": "83.7 94.8 94.6 - - -",
    "0/0/100": "83.6 94.9 94.6 - - -",
}


def _encoder(name: str) -> Encoder:
    mask, _, random = (int(share) / 100 for share in name.split("/"))
    shares = {} if name == "80/10/10" else {"objective.mask_share": mask, "objective.random_share": random}
    return Encoder(name.replace("/", "-"), pretrain=shares)


table = Table(
    name="bert-table8",
    title="Masking: shares of [MASK], the same token, a random token",
    source="Devlin et al. 2019, arXiv 1810.04805v2, Table 8",
    protocol="development sets; BERT-base's architecture, pretrained anew with each masking",
    published_on="validation",
    columns=(
        Column("MNLI", "mnli"),
        Column("NER tuned", absent="named-entity recognition is not implemented"),
        Column("NER frozen", absent="named-entity recognition is not implemented"),
        Column("SST-2", "sst2"),
        Column("MRPC", "mrpc"),
        Column("SST-2 probe", "sst2", "probe", "glue"),
    ),
    encoders=tuple(_encoder(name) for name in _RATES),
    lines=tuple(Line(name, name.replace("/", "-"), POOLER, published) for name, published in _RATES.items()),
    paper={"finetune.batch_size": 32, "finetune.epochs": 3, "finetune.optim.learning_rate": 3e-5},
    notes=(
        "SST-2 and MRPC are ours: smaller than MNLI. The probe is of a frozen encoder, as the second NER column is, "
        "in which the paper found masking to matter most.",
    ),
)
