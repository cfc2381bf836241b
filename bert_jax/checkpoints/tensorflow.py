"""Read BERT's original checkpoints (bert_config.json, vocab.txt, TensorFlow 1 variables) without TensorFlow."""

import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np

from bert_jax.checkpoints.architectures import SCHEMAS
from bert_jax.checkpoints.checkpoint import Checkpoint, Labels, canonical, from_tensors
from bert_jax.checkpoints.huggingface import CONFIG_FILES, parse_config
from bert_jax.checkpoints.tensor_bundle import checkpoint_files, find_checkpoint, read_bundle
from bert_jax.config import BertConfig
from bert_jax.errors import InputError

_LOGGER = logging.getLogger(__name__)
_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu"}
"""`hidden_act` -> our activation. gelu is the tanh approximation of `modeling.py` in google-research/bert at HEAD."""

_NAMES = {
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
}
"""Variables with irregular names; the last two are from `run_classifier.py`."""

_TRAINING_VARIABLE = re.compile(
    r"(.*/)?(global_step|beta\d_power|loss_scale|good_steps)(_\d+)?|signal_early_stopping/.*"
)
"""Training variables that are not slots of a weight."""


def read_config(folder: Path) -> BertConfig:
    """Read `bert_config.json`.

    Raises:
        InputError: the file is missing or unreadable, or describes something other than a BERT.
    """
    found = [folder / name for name in reversed(CONFIG_FILES) if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder} has a TensorFlow checkpoint but no bert_config.json, which describes its layers")
    return parse_config(found[0], _ACTIVATIONS, {"bert": SCHEMAS["bert"]})


def load_checkpoint(folder: Path, encoder_only: bool = False) -> Checkpoint:
    """Read `bert_config.json` and the checkpoint, strictly.

    Optimizer slots of the variables are skipped and logged in one line.

    Args:
        folder: the model directory.
        encoder_only: also skip heads that are unknown or do not fit.

    Raises:
        InputError: a file is missing or damaged, or the variables do not match the config; each
            missing, unexpected and misshapen one is listed, by its name in `transformers`.
    """
    config = read_config(folder)
    prefix = find_checkpoint(folder)
    if prefix is None:
        raise InputError(f"{folder} has no TensorFlow checkpoint: no file that ends in .index")
    variables = read_bundle(prefix, lambda names: _weights(names, prefix))
    if any(name.endswith(".ATTRIBUTES/VARIABLE_VALUE") for name in variables):
        raise InputError(f"{prefix} is an object checkpoint of TensorFlow 2; only those of TensorFlow 1 can be loaded")
    tensors = canonical(dict(_renamed(*item) for item in variables.items()), prefix, SCHEMAS["bert"])
    return from_tensors(config, tensors, prefix, Labels(), encoder_only)


def weight_files(folder: Path) -> list[Path]:
    """List the files of the folder's checkpoint."""
    prefix = find_checkpoint(folder)
    return checkpoint_files(prefix) if prefix else []


def _weights(names: list[str], prefix: Path) -> list[str]:
    """Select the variables that are weights. Slots of optimizers and averages have the name of a variable as prefix."""
    known = set(names)
    slots: Counter[str] = Counter()
    kept = []
    for name in names:
        parts = name.split("/")
        above = (cut for cut in range(1, len(parts)) if "/".join(parts[:cut]) in known)
        if (cut := next(above, None)) is not None:
            slots["/".join(parts[cut:])] += 1
        elif not _TRAINING_VARIABLE.fullmatch(name):
            kept.append(name)
    if slots:
        _LOGGER.warning("%s: skipped %d training slots: %s", prefix, slots.total(), ", ".join(sorted(slots)))
    return kept


def _renamed(name: str, variable: np.ndarray) -> tuple[str, np.ndarray]:
    """Convert a variable to the name and layout of `transformers`: dense kernels from [in out] to [out in].

    >>> _renamed("bert/encoder/layer_0/output/dense/kernel", np.zeros((40, 24)))[0]
    'bert.encoder.layer.0.output.dense.weight'
    """
    if name in _NAMES:
        return _NAMES[name], variable
    parts = re.sub(r"/layer_(\d+)/", r"/layer.\1/", name).replace("/", ".")
    if parts.endswith(".kernel"):
        return parts.removesuffix("kernel") + "weight", variable.T
    return f"{parts}.weight" if parts.endswith("_embeddings") else parts, variable
