"""all-MiniLM-L6-v2 on the similarity sets."""

from bert_jax.config import ReadoutConfig
from experiments.tables.sbert_table1 import table as sbert_table1
from experiments.tables.table import Encoder, Line, Table

table = Table(
    name="minilm-sts",
    title="all-MiniLM-L6-v2, zero-shot similarity",
    source="MTEB, sentence-transformers/all-MiniLM-L6-v2; [CLS]: a NumPy forward pass of the same weights",
    protocol="Spearman's correlation of the cosine x 100 over all pairs of a set, at most 256 tokens",
    published_on="test",
    columns=tuple(column for column in sbert_table1.columns if column.task),
    encoders=(Encoder("minilm", "sentence-transformers/all-MiniLM-L6-v2"),),
    lines=(
        Line("mean", "minilm", ReadoutConfig("last", "mean"), "72.37 80.60 75.59 85.39 78.99 82.03 77.58"),
        Line("[CLS]", "minilm", ReadoutConfig("last", "cls"), "75.06 76.46 71.51 75.30 - 73.50 -"),
    ),
    paper={"sts.max_length": 256},
    plain=False,
)
