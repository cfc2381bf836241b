"""Load model directories of any supported layout, local or on the Hugging Face hub."""

import hashlib
from pathlib import Path
from types import ModuleType

from bert_jax.checkpoints import huggingface, tensorflow
from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.sentence_transformers import encoder_folder
from bert_jax.checkpoints.tensor_bundle import find_checkpoint
from bert_jax.checkpoints.weights import find_weights, weight_files
from bert_jax.config import BertConfig
from bert_jax.errors import InputError

_SETTINGS = ("config.json", "bert_config.json", "sentence_bert_config.json", "config_sentence_transformers.json")
_TOKENIZER = ("vocab.txt", "tokenizer.json", "spiece.model", "vocab.json", "merges.txt")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-?????-of-?????.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-?????-of-?????.bin"),
    ("*.ckpt*.index", "*.ckpt*.data-?????-of-?????", "checkpoint"),
)
"""Weight files to download from the hub; the first group with a file in the repository is used."""


def resolve(name: str) -> Path:
    """Return a local model directory, or download a Hugging Face hub id into the cache.

    Raises:
        InputError: the name is neither a directory nor a hub id that can be downloaded.
    """
    path = Path(name).expanduser()
    if path.exists() or name.startswith((".", "/", "~")):
        if not path.is_dir():
            raise InputError(f"there is no model directory {name}")
        return path
    from huggingface_hub import snapshot_download  # slow to import

    try:
        folder = path
        for weights in _WEIGHTS:
            files = (*_SETTINGS, *_TOKENIZER, *_TOKENIZER_SETTINGS, *weights)
            # Modules of sentence-transformers are in folders of their own: 0_Transformer, 1_Pooling, 2_Dense.
            patterns = ["modules.json", *files, *(f"[0-9]_*/{file}" for file in files)]
            folder = Path(snapshot_download(name, allow_patterns=patterns))
            if has_weights(encoder_folder(folder)):
                break
        return folder
    except InputError:
        raise
    except Exception as error:  # network, authorisation and naming errors share no base class
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{name!r} is not a local directory and cannot be fetched from the hub: {reason}") from error


def has_weights(folder: Path) -> bool:
    """Return True if a folder contains weight files."""
    return find_weights(folder) is not None or find_checkpoint(folder) is not None


def read_config(folder: Path) -> BertConfig:
    """Read the architecture of a model directory, without its weights.

    Raises:
        InputError: there is no config, or it does not describe a BERT.
    """
    folder = encoder_folder(folder)
    config: BertConfig = _reader(folder).read_config(folder)
    return config


def load_checkpoint(folder: Path, encoder_only: bool = False) -> Checkpoint:
    """Load the weights of a model directory.

    Args:
        folder: the model directory.
        encoder_only: skip heads that are unknown or do not fit, and log them in one line.

    Raises:
        InputError: a file is missing or damaged, or config and weights do not match; every difference is listed.
    """
    folder = encoder_folder(folder)
    checkpoint: Checkpoint = _reader(folder).load_checkpoint(folder, encoder_only)
    return checkpoint


def fingerprint(folder: Path) -> str:
    """Return the first 12 hex digits of the SHA-256 of a directory's weight files."""
    digest = hashlib.sha256()
    for path in _weight_files(encoder_folder(folder)):
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()[:12]


def describe_format(folder: Path) -> str:
    """Describe the file that a directory's weights are read from, in a few words."""
    path = find_weights(encoder_folder(folder)) or find_checkpoint(encoder_folder(folder))
    name = path.name if path else "no weights"
    return f"{name} of TensorFlow 1" if path and find_weights(path.parent) is None else name


def _reader(folder: Path) -> ModuleType:
    """Return the module that reads a folder, chosen by its weight files: bert_config.json may accompany either kind."""
    is_tensorflow = find_weights(folder) is None and find_checkpoint(folder) is not None
    return tensorflow if is_tensorflow else huggingface


def _weight_files(folder: Path) -> list[Path]:
    weights = find_weights(folder)
    files = weight_files(weights) if weights else tensorflow.weight_files(folder)
    if not files:
        raise InputError(f"{folder} has no weights: no model.safetensors, pytorch_model.bin or bert_model.ckpt.index")
    return files
