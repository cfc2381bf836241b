"""ModernBERT in the names of `transformers`."""

from bert_jax.checkpoints.schema import FIELDS, Schema, in_blocks
from bert_jax.config import BertConfig, require
from bert_jax.errors import InputError
from bert_jax.files import Json
from bert_jax.json_object import JsonObject
from bert_jax.model.architectures.modernbert import ModernBertConfig

_EMBEDDINGS = {"embeddings/token": "embeddings.tok_embeddings", "embeddings/norm": "embeddings.norm"}
_BLOCK = {
    "attention_norm": "attn_norm",
    "attention/qkv": "attn.Wqkv",
    "attention/output": "attn.Wo",
    "output_norm": "mlp_norm",
    "intermediate": "mlp.Wi",
    "output": "mlp.Wo",
}
_HEAD = {"dense": "head.dense", "norm": "head.norm"}
_FIELDS = FIELDS | {"activation": "hidden_activation", "dropout": "mlp_dropout", "layer_norm_eps": "norm_eps"}
_FIELDS |= {"attention_dropout": "attention_dropout", "classifier_pooling": "classifier_pooling"}
_KINDS = {"full_attention": False, "sliding_attention": True}
"""Layer type -> is its attention local?"""


def _read(raw: JsonObject, values: Json) -> Json:
    number = values["num_layers"]
    period = raw.field("global_attn_every_n_layers", int, 3, least=1)
    kinds = raw.strings("layer_types") or [list(_KINDS)[n % period > 0] for n in range(number)]
    require(
        len(kinds) == number and kinds[0] == "full_attention" and set(kinds) <= set(_KINDS),
        f"layer_types must be {number} of {' or '.join(_KINDS)}, the first of them full_attention",
    )
    if raw.field("embedding_dropout", float, 0.0) != values["dropout"]:
        raise InputError("embedding_dropout and mlp_dropout differ; here they are one rate")
    pooling = values["classifier_pooling"]
    require(pooling in ("cls", "mean"), f"classifier_pooling is {pooling!r}, and must be 'cls' or 'mean'")
    return values | {
        "local": tuple(_KINDS[kind] for kind in kinds),
        "window": raw.field("local_attention", int, 128, least=0) // 2,
        "global_theta": _theta(raw, "full_attention", "global_rope_theta", 160_000.0),
        "local_theta": _theta(raw, "sliding_attention", "local_rope_theta", 10_000.0),
    }


def _theta(raw: JsonObject, kind: str, old: str, default: float) -> float:
    """The base of the rotary positions: of `rope_parameters`, or under its name before version 5."""
    rope = raw.section("rope_parameters").section(kind)
    if (form := rope.field("rope_type", str, "default")) != "default":
        raise InputError(f"rope_parameters: rope_type {form!r} is not supported; only 'default' is")
    return float(rope.field("rope_theta", float, raw.field(old, float, default, least=1), least=1))


def _write(config: BertConfig, fields: Json) -> Json:
    assert isinstance(config, ModernBertConfig)
    thetas = {"full_attention": config.global_theta, "sliding_attention": config.local_theta}
    return fields | {
        "layer_types": [list(_KINDS)[local] for local in config.local],
        "local_attention": 2 * config.window,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
        "embedding_dropout": config.dropout,
    }


schemas = (
    Schema(
        model_type="modernbert",
        config=ModernBertConfig,
        prefix="model.",
        stem="ModernBert",
        encoder=_EMBEDDINGS | in_blocks("layers.{n}.", _BLOCK) | {"final": "final_norm"},
        heads={f"mlm/{ours}": theirs for ours, theirs in _HEAD.items()} | {"mlm": "decoder"},
        sequence={f"pooler/{ours}": theirs for ours, theirs in _HEAD.items()} | {"classifier/dense": "classifier"},
        parts={"decoder.": "mlm", "classifier.": "classifier"},
        classes={"ForSequenceClassification": ("classifier",), "ForMaskedLM": ("mlm",), "Model": ()},
        tied={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
        fields={ours: theirs for ours, theirs in _FIELDS.items() if ours not in ("num_segments", "causal")},
        fixed={
            "norm_bias": False,
            "attention_bias": False,
            "mlp_bias": False,
            "classifier_bias": False,
            "classifier_activation": "gelu",
            "decoder_bias": True,
            "rope_scaling": None,
        },
        carried={
            "pad_token_id": (int, 50283),
            "bos_token_id": (int, 50281),
            "eos_token_id": (int, 50282),
            "cls_token_id": (int, 50281),
            "sep_token_id": (int, 50282),
            "classifier_dropout": (float, 0.0),
            "initializer_cutoff_factor": (float, 2.0),
            "sparse_prediction": (bool, False),
            "sparse_pred_ignore_index": (int, -100),
            "deterministic_flash_attn": (bool, False),
        },
        read=_read,
        write=_write,
        projection="head",
        without_bias=("mlm/dense", "mlm/norm", "pooler/dense", "pooler/norm"),
        can_be_cut=lambda config: False,
    ),
)
