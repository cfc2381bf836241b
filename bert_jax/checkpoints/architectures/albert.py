"""ALBERT in the names of `transformers`."""

from bert_jax.checkpoints.schema import EMBEDDINGS, FIELDS, HIDDEN_ACTS, Schema, in_blocks
from bert_jax.config import BertConfig
from bert_jax.model.architectures.albert import AlbertConfig

_BLOCK = {
    "attention/query": "attention.query",
    "attention/key": "attention.key",
    "attention/value": "attention.value",
    "attention/output": "attention.dense",
    "attention_norm": "attention.LayerNorm",
    "intermediate": "ffn",
    "output": "ffn_output",
    "output_norm": "full_layer_layer_norm",
}
_HEADS = {
    "pooler": "albert.pooler",
    "mlm/dense": "predictions.dense",
    "mlm/norm": "predictions.LayerNorm",
    "mlm": "predictions",
    "sop/dense": "sop_classifier.classifier",
}


def _can_be_cut(config: BertConfig) -> bool:
    return isinstance(config, AlbertConfig) and config.num_groups == 1


schemas = (
    Schema(
        model_type="albert",
        config=AlbertConfig,
        prefix="albert.",
        stem="Albert",
        encoder=EMBEDDINGS
        | {"embeddings/projection": "encoder.embedding_hidden_mapping_in"}
        | in_blocks("encoder.albert_layer_groups.{n}.albert_layers.0.", _BLOCK),
        heads=_HEADS,
        sequence=_HEADS | {"classifier/dense": "classifier"},
        parts={
            "albert.pooler.": "pooler",
            "predictions.": "mlm",
            "sop_classifier.": "sop",
            "classifier.": "classifier",
        },
        classes={
            "ForSequenceClassification": ("classifier",),
            "ForPreTraining": ("mlm", "sop"),
            "ForMaskedLM": ("mlm",),
            "Model": (),
        },
        tied={
            "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
            "predictions.decoder.bias": "predictions.bias",
        },
        fields={ours: theirs for ours, theirs in FIELDS.items() if ours != "causal"}
        | {"embedding_size": "embedding_size", "num_groups": "num_hidden_groups"},
        hidden_acts=HIDDEN_ACTS | {"gelu_tanh": "gelu_new"},
        fixed={"inner_group_num": 1},
        carried={
            "pad_token_id": (int, 0),
            "bos_token_id": (int, 2),
            "eos_token_id": (int, 3),
            "classifier_dropout_prob": (float, 0.1),
        },
        can_be_cut=_can_be_cut,
    ),
)
