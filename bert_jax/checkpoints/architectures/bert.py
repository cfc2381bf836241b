"""BERT (arXiv 1810.04805) in the names of `transformers`."""

from bert_jax.checkpoints.schema import EMBEDDINGS, Schema, in_blocks
from bert_jax.config import BertConfig

_HEADS = {
    "pooler": "bert.pooler.dense",
    "mlm/dense": "cls.predictions.transform.dense",
    "mlm/norm": "cls.predictions.transform.LayerNorm",
    "mlm": "cls.predictions",
    "nsp/dense": "cls.seq_relationship",
}

schemas = (
    Schema(
        model_type="bert",
        config=BertConfig,
        prefix="bert.",
        stem="Bert",
        encoder=EMBEDDINGS | in_blocks("encoder.layer.{n}."),
        heads=_HEADS,
        sequence=_HEADS | {"classifier/dense": "classifier"},
        parts={"bert.pooler.": "pooler", "cls.predictions.": "mlm", "cls.seq_relationship.": "nsp"}
        | {"classifier.": "classifier"},
        classes={
            "ForSequenceClassification": ("classifier",),
            "ForPreTraining": ("mlm", "nsp"),
            "ForMaskedLM": ("mlm",),
            "ForNextSentencePrediction": ("nsp",),
            "Model": (),
            "LMHeadModel": (),
        },
        tied={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
        carried={"pad_token_id": (int, 0), "classifier_dropout": (float, None)},
    ),
)
