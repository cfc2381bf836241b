"""Model cards: the README.md of a model directory, with its training settings; metadata by `huggingface_hub`."""

import json
from collections.abc import Sequence
from pathlib import Path

from bert_jax.checkpoints.architectures import schema_of
from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import BertConfig
from bert_jax.files import Json, Settings, plain

CARD = "README.md"

_USES = {
    "fill-mask": (
        "transformers",
        'from transformers import pipeline\n\npipeline("fill-mask", model="{name}")("A [MASK] sentence.")\n',
    ),
    "feature-extraction": (
        "transformers",
        "from transformers import AutoModel, AutoTokenizer\n\n"
        'tokenizer, model = AutoTokenizer.from_pretrained("{name}"), AutoModel.from_pretrained("{name}")\n',
    ),
    "text-classification": (
        "transformers",
        "from transformers import pipeline\n\n"
        'classify = pipeline("text-classification", model="{name}")\n'
        'classify({{"text": "A sentence.", "text_pair": "Leave this out where the task has one text."}})\n',
    ),
    "sentence-similarity": (
        "sentence-transformers",
        "from sentence_transformers import SentenceTransformer\n\n"
        'SentenceTransformer("{name}").encode(["A sentence."])\n',
    ),
}
"""Pipeline tag -> library, and example code."""


def use_of(checkpoint: Checkpoint) -> str:
    """Pipeline tag of the hub that fits a checkpoint's heads."""
    if checkpoint.classifier:
        return "text-classification"
    return "fill-mask" if checkpoint.mlm and not checkpoint.config.causal else "feature-extraction"


def make_card(
    name: str,
    use: str,
    summary: str,
    config: BertConfig,
    sections: Settings,
    results: Sequence[object] = (),
) -> str:
    """Return the text of a model card.

    Args:
        name: name of the model.
        use: pipeline tag of the hub, a key of `_USES`.
        summary: description in a sentence or two.
        config: architecture of the model.
        sections: heading -> text, or settings to show as a table.
        results: `huggingface_hub.EvalResult`s.
    """
    from huggingface_hub import ModelCardData  # slow to import

    library, code = _USES[use]
    more: Json = {"model_name": name, "eval_results": list(results)} if results else {}
    data = ModelCardData(
        library_name=library, pipeline_tag=use, tags=[schema_of(config).model_type, "jax", "bert_jax"], **more
    )
    architecture = {key: value for key, value in plain(config).items() if key != "compute"}
    parts = [f"---\n{data.to_yaml()}\n---", f"# {name}", summary, f"```python\n{code.format(name=name)}```"]
    for title, content in {**sections, "Architecture": architecture}.items():
        parts += [f"## {title}", content if isinstance(content, str) else settings_table(content)]
    return "\n\n".join(parts) + "\n"


def settings_table(settings: Settings) -> str:
    """Format nested settings as a Markdown table with dotted names."""
    rows = [("setting", "value"), ("---", "---"), *_flat(plain(dict(settings)), "")]
    return "\n".join(f"| {name} | {str(value).replace('|', '/')} |" for name, value in rows)


def pretraining_card(
    name: str,
    config: BertConfig,
    settings: Settings,
    log: Sequence[Settings],
    predicted: str,
    use: str,
) -> str:
    """Return the card of a pretrained encoder.

    Args:
        name: name of the model.
        config: architecture of the model.
        settings: settings of the run and of its corpus.
        log: measurements, see `train.log.read_log`; the last line of each split gives the results.
        predicted: what it was trained to predict, in words.
        use: a key of `_USES`, the hub's pipeline tag.
    """
    settings = dict(settings)
    pretrain = settings.pop("pretrain")
    last = {line["split"]: line for line in log}
    results = {
        f"{split}, step {line['step']}": rounded({k: v for k, v in line.items() if k not in ("step", "split", "time")})
        for split, line in last.items()
    }
    corpus = settings_table(settings) if "corpus" in settings else _SYNTHETIC + settings_table(settings)
    sections = {"Results": results, "Data": corpus, "Training": pretrain}
    summary = (
        f"A BERT pretrained from random initialisation with bert_jax on {predicted}, "
        f"{pretrain['steps']:,} steps of {pretrain['batch_size']} examples of {pretrain['max_length']} tokens. "
        "It outputs hidden states and is meant to be fine-tuned."
    )
    return make_card(name, use, summary, config, sections)


def plain_card(name: str, use: str, config: BertConfig, origin: str = "Saved by bert_jax.") -> str:
    """Return the card of a model with unknown training settings."""
    return make_card(name, use, f"{origin} How it was trained was not recorded.", config, {})


def carried_card(source: Path, use: str, note: str) -> str:
    """Adapt the card of a converted model to the library of its new use, with a note at the end."""
    from huggingface_hub import ModelCard

    card = ModelCard.load(source, ignore_metadata_errors=True)
    card.data.library_name, card.data.pipeline_tag = _USES[use][0], use
    return f"{str(card).rstrip()}\n\n## Conversion\n\n{note}\n"


_SYNTHETIC = "The synthetic language of bert_jax, which is generated.\n\n"


def rounded(values: Settings) -> Json:
    """Round the floats among values to four decimals."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def _flat(settings: Settings, prefix: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)))
    return rows
