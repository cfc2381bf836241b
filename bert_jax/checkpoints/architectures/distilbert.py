"""DistilBERT in the names of `transformers`."""

from bert_jax.checkpoints.schema import EMBEDDINGS, FIELDS, Schema, in_blocks
from bert_jax.model.architectures.distilbert import DistilBertConfig

_BLOCK = {
    "attention/query": "attention.q_lin",
    "attention/key": "attention.k_lin",
    "attention/value": "attention.v_lin",
    "attention/output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "intermediate": "ffn.lin1",
    "output": "ffn.lin2",
    "output_norm": "output_layer_norm",
}
_HEADS = {"mlm/dense": "vocab_transform", "mlm/norm": "vocab_layer_norm", "mlm": "vocab_projector"}
_RENAMED = {
    "hidden_size": "dim",
    "num_layers": "n_layers",
    "num_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "activation": "activation",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
}
_ABSENT = ("num_segments", "layer_norm_eps", "causal")

schemas = (
    Schema(
        model_type="distilbert",
        config=DistilBertConfig,
        prefix="distilbert.",
        stem="DistilBert",
        encoder=EMBEDDINGS | in_blocks("transformer.layer.{n}.", _BLOCK),
        heads=_HEADS,
        sequence=_HEADS | {"pooler": "pre_classifier", "classifier/dense": "classifier"},
        parts={"vocab_": "mlm", "pre_classifier.": "pooler", "classifier.": "classifier"},
        classes={"ForSequenceClassification": ("classifier",), "ForMaskedLM": ("mlm",), "Model": ()},
        tied={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
        fields={ours: theirs for ours, theirs in (FIELDS | _RENAMED).items() if ours not in _ABSENT},
        carried={
            "pad_token_id": (int, 0),
            "qa_dropout": (float, 0.1),
            "seq_classif_dropout": (float, 0.2),
            "sinusoidal_pos_embds": (bool, False),
        },
        projection="mlp(activation='relu')",
    ),
)
