"""BERT-whitening: zero-shot similarity after whitening, fitted on inference pairs or on the texts of a set itself."""

from bert_jax.config import ReadoutConfig
from experiments.tables.sbert_table1 import table as sbert_table1
from experiments.tables.table import Encoder, Line, Table

_NLI = {"sts.whitening": "train"}
_FIRST_LAST = "avg(1,-1)"

table = Table(
    name="bert-whitening",
    title="Zero-shot similarity after whitening, by the texts that it is fitted on",
    source="whitening of Su et al. 2021 (arXiv 2103.15316), run by Gao et al. 2021, arXiv 2104.08821, Table C.1",
    protocol="Spearman of the cosine x 100 over all pairs of a set, test sets; whitening fitted on inference pairs",
    published_on="test",
    columns=sbert_table1.columns,
    encoders=(Encoder("bert", "bert-base-uncased"),),
    lines=(
        Line("[CLS]", "bert", ReadoutConfig("last", "cls")),
        Line("[CLS], whitened", "bert", ReadoutConfig("last", "cls", "whiten")),
        Line("mean", "bert", ReadoutConfig("last", "mean")),
        Line("mean, whitened", "bert", ReadoutConfig("last", "mean", "whiten")),
        Line("first-last", "bert", ReadoutConfig(_FIRST_LAST, "mean")),
        Line("first-last, whitened", "bert", ReadoutConfig(_FIRST_LAST, "mean", "whiten")),
        Line("[CLS], whitened on NLI", "bert", ReadoutConfig("last", "cls", "whiten"), changes=_NLI),
        Line(
            "first-last, whitened on NLI",
            "bert",
            ReadoutConfig(_FIRST_LAST, "mean", "whiten"),
            "57.83 66.90 60.90 75.08 71.31 68.24 63.73 66.28",
            changes=_NLI,
        ),
    ),
    plain=False,
    incomparable="which layers the published row averages, and how many axes it keeps, is not known here",
    notes=(
        "whitened: fitted on the texts of each set itself, without their scores; on NLI: on the sentences of --nli, of "
        "which the source has SNLI and MultiNLI.",
    ),
)
