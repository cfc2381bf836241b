"""SimCSE, Table 6: pooling of contrastively trained sentence vectors."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

table = Table(
    name="simcse-table6",
    title="Pooling in unsupervised SimCSE: where the MLP goes",
    source="Gao et al. 2021, arXiv 2104.08821, Table 6",
    protocol="Spearman x 100 on the STS benchmark's development set; a million sentences of Wikipedia",
    published_on="validation",
    columns=(
        Column("Unsupervised", "simcse", "siamese"),
        Column("Supervised", absent="the supervised objective is not implemented"),
    ),
    encoders=(Encoder("bert", "bert-base-uncased"),),
    lines=(
        Line("CLS, MLP", "bert", ReadoutConfig("last", "cls", "mlp"), "81.7 86.2"),
        Line(
            "CLS, MLP in training",
            "bert",
            ReadoutConfig("last", "cls"),
            "82.5 85.8",
            changes={"siamese.training_projection": "mlp"},
        ),
        Line("CLS, no MLP", "bert", ReadoutConfig("last", "cls"), "80.9 86.2"),
        Line("First-last avg.", "bert", ReadoutConfig("avg(1,-1)", "mean"), "81.2 86.1"),
    ),
    paper={
        "siamese.batch_size": 64,
        "siamese.max_length": 32,
        "siamese.dropout": 0.1,
        "siamese.optim.learning_rate": 3e-5,
        "siamese.optim.warmup": 0.0,
        "siamese.optim.weight_decay": 0.0,
    },
    notes=("The last checkpoint is scored; the source keeps the best one by the same development set.",),
)
