"""ELECTRA's generator and discriminator in the names of `transformers`."""

from bert_jax.checkpoints.schema import EMBEDDINGS, FIELDS, Schema, in_blocks
from bert_jax.model.architectures.electra import ElectraConfig

_HEADS = {
    "mlm/dense": "generator_predictions.dense",
    "mlm/norm": "generator_predictions.LayerNorm",
    "mlm": "generator_lm_head",
    "discriminator/dense": "discriminator_predictions.dense",
    "discriminator/prediction": "discriminator_predictions.dense_prediction",
}

schemas = (
    Schema(
        model_type="electra",
        config=ElectraConfig,
        prefix="electra.",
        stem="Electra",
        encoder=EMBEDDINGS | {"embeddings/projection": "embeddings_project"} | in_blocks("encoder.layer.{n}."),
        heads=_HEADS,
        sequence=_HEADS | {"pooler": "classifier.dense", "classifier/dense": "classifier.out_proj"},
        parts={"generator_": "mlm", "discriminator_": "discriminator", "classifier.": "classifier"},
        classes={
            "ForSequenceClassification": ("classifier",),
            "ForMaskedLM": ("mlm",),
            "ForPreTraining": ("discriminator",),
            "Model": (),
            "ForCausalLM": (),
        },
        tied={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
        fields=FIELDS | {"embedding_size": "embedding_size"},
        carried={
            "pad_token_id": (int, 0),
            "classifier_dropout": (float, None),
            "summary_type": (str, "first"),
            "summary_use_proj": (bool, True),
            "summary_activation": (str, "gelu"),
            "summary_last_dropout": (float, 0.1),
        },
        projection="mlp(activation='gelu')",
    ),
)
