"""Model cards: a directory's README.md, with how the model was made. `huggingface_hub` writes the metadata."""

import json
from collections.abc import Sequence
from pathlib import Path

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
"""Pipeline tag -> library, and how the model is used in it."""


def make_card(
    name: str,
    use: str,
    summary: str,
    config: BertConfig,
    sections: Settings,
    results: Sequence[object] = (),
) -> str:
    """The text of a card.

    Args:
        name: of the model.
        use: a key of `_USES`, the hub's pipeline tag.
        summary: what it is, in a sentence or two.
        config: its architecture.
        sections: heading -> text, or settings that become a table.
        results: `huggingface_hub.EvalResult`s.
    """
    from huggingface_hub import ModelCardData  # slow to import, and not needed by what does not write cards

    library, code = _USES[use]
    more: Json = {"model_name": name, "eval_results": list(results)} if results else {}
    data = ModelCardData(library_name=library, pipeline_tag=use, tags=["bert", "jax", "bert_jax"], **more)
    architecture = {key: value for key, value in plain(config).items() if key != "compute"}
    parts = [f"---\n{data.to_yaml()}\n---", f"# {name}", summary, f"```python\n{code.format(name=name)}```"]
    for title, content in {**sections, "Architecture": architecture}.items():
        parts += [f"## {title}", content if isinstance(content, str) else settings_table(content)]
    return "\n\n".join(parts) + "\n"


def settings_table(settings: Settings) -> str:
    """Nested settings as a Markdown table, by dotted name."""
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
    """The card of a pretrained encoder.

    Args:
        name: of the model.
        config: its architecture.
        settings: of the run, and of its corpus.
        log: what was measured, see `train.log.read_log`; its last lines are the results.
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
        "By itself it gives hidden states; it is to be fine-tuned."
    )
    return make_card(name, use, summary, config, sections)


def plain_card(name: str, use: str, config: BertConfig, origin: str = "Saved by bert_jax.") -> str:
    """The card of a model of which is known only where it comes from."""
    return make_card(name, use, f"{origin} How it was trained was not recorded.", config, {})


def carried_card(source: Path, use: str, note: str) -> str:
    """The card of the model that another was converted from, with a note at its end, for the library of its new use."""
    from huggingface_hub import ModelCard

    card = ModelCard.load(source, ignore_metadata_errors=True)
    card.data.library_name, card.data.pipeline_tag = _USES[use][0], use
    return f"{str(card).rstrip()}\n\n## Conversion\n\n{note}\n"


_SYNTHETIC = "The synthetic language of bert_jax, which is generated.\n\n"


def rounded(values: Settings) -> Json:
    """Values with floats rounded to four decimals."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def _flat(settings: Settings, prefix: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)))
    return rows
