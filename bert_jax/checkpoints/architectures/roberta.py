"""RoBERTa, XLM-RoBERTa and CamemBERT in the names of `transformers`, which differ in those of their classes only."""

from bert_jax.checkpoints.schema import EMBEDDINGS, FIELDS, Schema, in_blocks
from bert_jax.config import BertConfig
from bert_jax.files import Json
from bert_jax.json_object import JsonObject
from bert_jax.model.architectures.roberta import CamembertConfig, RobertaConfig, XlmRobertaConfig

_HEADS = {"mlm/dense": "lm_head.dense", "mlm/norm": "lm_head.layer_norm", "mlm": "lm_head"}


def _read(raw: JsonObject, values: Json) -> Json:
    unused = int(values["pad_id"]) + 1  # positions before the first that is counted
    return values | {"max_length": raw.field("max_position_embeddings", int, 512) - unused}


def _write(config: BertConfig, fields: Json) -> Json:
    assert isinstance(config, RobertaConfig)
    return fields | {"max_position_embeddings": config.max_length + config.pad_id + 1}


def roberta_schema(model_type: str, stem: str, config: type[BertConfig], prefix: str = "roberta.") -> Schema:
    """The schema of an encoder of RoBERTa's form."""
    return Schema(
        model_type=model_type,
        config=config,
        prefix=prefix,
        stem=stem,
        encoder=EMBEDDINGS | in_blocks("encoder.layer.{n}."),
        heads=_HEADS | {"pooler": f"{prefix}pooler.dense"},
        sequence=_HEADS | {"pooler": "classifier.dense", "classifier/dense": "classifier.out_proj"},
        parts={f"{prefix}pooler.": "pooler", "lm_head.": "mlm", "classifier.": "classifier"},
        classes={
            "ForSequenceClassification": ("classifier",),
            "ForMaskedLM": ("mlm",),
            "Model": (),
            "ForCausalLM": (),
        },
        tied={
            "lm_head.decoder.weight": f"{prefix}embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        },
        unused=f"{prefix}pooler.",
        fields=FIELDS | {"pad_id": "pad_token_id"},
        carried={"bos_token_id": (int, 0), "eos_token_id": (int, 2), "classifier_dropout": (float, None)},
        read=_read,
        write=_write,
    )


schemas = (
    roberta_schema("roberta", "Roberta", RobertaConfig),
    roberta_schema("xlm-roberta", "XLMRoberta", XlmRobertaConfig),
    roberta_schema("camembert", "Camembert", CamembertConfig),
)
