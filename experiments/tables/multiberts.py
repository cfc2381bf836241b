"""MultiBERTs: 25 pretrainings of BERT-base that differ in their seed only, read from [CLS] and from the mean."""

from bert_jax.config import ReadoutConfig
from experiments.tables.nsp_pooling import table as nsp_pooling
from experiments.tables.table import SEED, Column, Encoder, Line, Table

table = Table(
    name="multiberts",
    title="25 pretrainings of one BERT-base, [CLS] beside the mean in three regimes",
    source="MNLI: the notebooks of MultiBERTs (Sellam et al. 2022, arXiv 2106.16163); all else ours",
    protocol="five of the pretrainings, of 2 M steps, five fine-tunings of each; development sets",
    published_on="validation",
    columns=(Column("MNLI", "mnli"), *nsp_pooling.columns),
    encoders=(Encoder("multiberts", f"google/multiberts-seed_{SEED}"),),
    lines=(
        Line("[CLS]", "multiberts", ReadoutConfig("last", "cls")),
        Line("mean", "multiberts", ReadoutConfig("last", "mean")),
        Line(
            "[CLS], BERT's pooler",
            "multiberts",
            ReadoutConfig("last", "cls", "tanh"),
            f"84.43 {' '.join('-' for _ in nsp_pooling.columns)}",
        ),
    ),
    paper={"seeds": 25, "pretrain_seeds": 25},
    incomparable="the published figure is of five of the pretrainings",
    notes=("One fine-tuning of each pretraining: seed s starts from pretraining s. With --seeds 50 there are two.",),
)
