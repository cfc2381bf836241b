"""What an encoder was tuned on before: two runs compare only where they begin alike.

A model directory that a training here has written says so in `training.json`. Of others, their own files tell:
labels of inference in config.json, or the parts of a sentence-transformers model.
"""

import json
from pathlib import Path

from bert_jax.errors import InputError
from bert_jax.files import Json, read_json, write_whole

HISTORY = "training.json"
_SENTENCE_TRANSFORMERS = ("modules.json", "config_sentence_transformers.json")


def tunings(folder: Path) -> list[str]:
    """What the encoder in a model directory was tuned on after its pretraining, in order; nothing for a plain one.

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
    """The trainings that are recorded in a model directory: each with `objective`, `train` and its settings.

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
    """Record the trainings, plain JSON values, in a model directory."""
    text = json.dumps(history, indent=2, allow_nan=False) + "\n"
    write_whole(folder / HISTORY, lambda file: file.write(text.encode()))


def _has_nli_labels(path: Path) -> bool:
    try:
        labels = json.loads(path.read_bytes()).get("id2label", {})
        return any("entail" in str(name).lower() for name in labels.values())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
