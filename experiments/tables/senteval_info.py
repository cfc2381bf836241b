"""SentEval at every layer of BERT: transfer and probing tasks, four poolings."""

from bert_jax.config import ReadoutConfig
from experiments.tables.table import Column, Encoder, Line, Table

_TRANSFER = {"MR": "mr", "CR": "cr", "SUBJ": "subj", "MPQA": "mpqa", "SST-2": "sst2", "TREC": "trec"}
_PROBING = {
    "Length": "sentence_length",
    "WordContent": "word_content",
    "Depth": "tree_depth",
    "TopConstituents": "top_constituents",
    "BigramShift": "bigram_shift",
    "Tense": "past_present",
    "SubjNumber": "subj_number",
    "ObjNumber": "obj_number",
    "OddManOut": "odd_man_out",
    "CoordinationInversion": "coordination_inversion",
}
_NOTHING = " -" * len(_PROBING)
_PUBLISHED = {
    "base -1 cls": "79.23 84.74 94.70 87.57 83.20 87.0 54.9 28.5 27.5 69.1 84.8 89.0 81.3 74.4 62.2 69.4",
    "base -1 mean": "79.53 85.72 95.05 87.63 85.06 89.8 77.6 45.0 33.8 66.8 88.2 88.2 84.6 80.4 64.5 68.1",
    "base -1 max": "74.68 73.32 93.42 86.33 81.71 81.4" + _NOTHING,
    "base -1 last_token": "73.10 79.68 94.10 83.95 81.77 83.2" + _NOTHING,
    "large -1 cls": "82.95 88.29 95.16 84.27 88.63 86.4" + _NOTHING,
    "large -1 mean": "82.74 87.87 95.43 85.55 87.15 86.4" + _NOTHING,
}
_DEPTHS = {"base": 12, "large": 24}


def _line(encoder: str, layer: int, pooling: str) -> Line:
    title = f"{encoder} {layer} {pooling}"
    against = "" if pooling == "cls" else f"{encoder} {layer} cls"
    return Line(title, encoder, ReadoutConfig(str(layer), pooling), _PUBLISHED.get(title, ""), against=against)


table = Table(
    name="senteval-info",
    title="SentEval at every layer of BERT-base and BERT-large: [CLS], mean, max and last token",
    source="jklj077/senteval-info (2019), the last layer of each",
    protocol="SentEval, frozen; logistic regression by rmsprop, batch 128, 5 folds, tenacity 3, epoch_size 2",
    published_on="test",
    columns=tuple(Column(title, task, "probe") for title, task in (_TRANSFER | _PROBING).items()),
    encoders=(
        Encoder("base", "bert-base-uncased", sizes={"tiny": "2/128/2", "mini": "mini", "base": "base"}),
        Encoder("large", "bert-large-uncased", sizes={"tiny": "3/128/2", "mini": "6/256/4", "base": "large"}),
    ),
    lines=tuple(
        _line(encoder, layer, pooling)
        for encoder, depth in _DEPTHS.items()
        for layer in range(-1, -depth - 2, -1)
        for pooling in ("cls", "mean", "max", "last_token")
    ),
    paper={"probe.protocol": "senteval", "seeds": 1},
    plain=False,
    incomparable="the source fits its heads by rmsprop, on 5 folds, and sets every segment to 1",
    notes=("Layers are counted from the last, -1; beyond the first block is the embedding layer.",),
)
