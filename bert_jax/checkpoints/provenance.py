"""Record and detect earlier fine-tuning of an encoder: runs are comparable only from the same starting point.

Model directories written by our training list it in `training.json`. For other directories it is inferred from NLI
labels in config.json, or from the files of a sentence-transformers model.
"""

import json
from pathlib import Path

from bert_jax.errors import InputError
from bert_jax.files import Json, read_json, write_whole

HISTORY = "training.json"
_SENTENCE_TRANSFORMERS = ("modules.json", "config_sentence_transformers.json")


def tunings(folder: Path) -> list[str]:
    """List the fine-tunings of the encoder in a model directory, in order; empty for a pretrained-only one.

    Raises:
        InputError: training.json cannot be read.
    """
    if (folder / HISTORY).is_file():
        return [f"{entry['objective']} on {', '.join(entry['train'])}" for entry in read_history(folder)]
    if any((folder / name).is_file() for name in _SENTENCE_TRANSFORMERS):
        return ["similarity (a sentence-transformers model)"]
    if _has_nli_labels(folder / "config.json"):
        return ["natural language inference (labels in config.json)"]
    return []


def read_history(folder: Path) -> list[Json]:
    """Read the trainings recorded in a model directory, each with `objective`, `train` and its settings.

    Raises:
        InputError: training.json is damaged.
    """
    path = folder / HISTORY
    remedy = "restore it, or delete it with its model"
    history: list[Json] = read_json(path, list, remedy) if path.exists() else []
    for number, entry in enumerate(history, start=1):
        if not (isinstance(entry, dict) and entry.get("objective") and isinstance(entry.get("train"), list)):
            raise InputError(f"{path}: training {number} has no objective and train; {remedy}")
    return history


def write_history(folder: Path, history: list[Json]) -> None:
    """Write the trainings, plain JSON values, to a model directory."""
    text = json.dumps(history, indent=2, allow_nan=False) + "\n"
    write_whole(folder / HISTORY, lambda file: file.write(text.encode()))


def _has_nli_labels(path: Path) -> bool:
    try:
        labels = json.loads(path.read_bytes()).get("id2label", {})
        return any("entail" in str(name).lower() for name in labels.values())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
