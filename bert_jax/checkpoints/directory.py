"""A model directory of any layout that can be loaded, here or on the hub."""

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
_TOKENIZER = ("vocab.txt", "tokenizer.json", "spiece.model")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-?????-of-?????.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-?????-of-?????.bin"),
    ("*.ckpt*.index", "*.ckpt*.data-?????-of-?????", "checkpoint"),
)
"""What is fetched of a repository on the hub: the first of these rows that it has anything of."""


def resolve(name: str) -> Path:
    """A local model directory, or a Hugging Face hub id downloaded into its cache.

    Raises:
        InputError: it is neither.
    """
    path = Path(name).expanduser()
    if path.exists() or name.startswith((".", "/", "~")):
        if not path.is_dir():
            raise InputError(f"there is no model directory {name}")
        return path
    from huggingface_hub import snapshot_download  # slow to import, and not needed for a local directory

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
        raise InputError(f"{name!r} is no directory here and cannot be fetched from the hub: {reason}") from error


def has_weights(folder: Path) -> bool:
    """Whether there is anything in a folder that could be a model's weights."""
    return find_weights(folder) is not None or find_checkpoint(folder) is not None


def read_config(folder: Path) -> BertConfig:
    """The architecture of a model directory, without its weights.

    Raises:
        InputError: there is none, or it is no BERT.
    """
    folder = encoder_folder(folder)
    config: BertConfig = _reader(folder).read_config(folder)
    return config


def load_checkpoint(folder: Path, encoder_only: bool = False) -> Checkpoint:
    """The weights of a model directory.

    Args:
        folder: the directory.
        encoder_only: pass over, in one line of the log, heads that are unknown or do not fit.

    Raises:
        InputError: a file is missing or damaged, or they do not fit together: every difference is listed.
    """
    folder = encoder_folder(folder)
    checkpoint: Checkpoint = _reader(folder).load_checkpoint(folder, encoder_only)
    return checkpoint


def fingerprint(folder: Path) -> str:
    """What tells a directory's weights from others: the start of the SHA-256 of the files that hold them."""
    digest = hashlib.sha256()
    for path in _weight_files(encoder_folder(folder)):
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()[:12]


def describe_format(folder: Path) -> str:
    """A few words on what a directory's weights are read from."""
    path = find_weights(encoder_folder(folder)) or find_checkpoint(encoder_folder(folder))
    name = path.name if path else "no weights"
    return f"{name} of TensorFlow 1" if path and find_weights(path.parent) is None else name


def _reader(folder: Path) -> ModuleType:
    """The module that reads a folder: that of its weights, as bert_config.json may stand beside either kind."""
    is_tensorflow = find_weights(folder) is None and find_checkpoint(folder) is not None
    return tensorflow if is_tensorflow else huggingface


def _weight_files(folder: Path) -> list[Path]:
    weights = find_weights(folder)
    files = weight_files(weights) if weights else tensorflow.weight_files(folder)
    if not files:
        raise InputError(f"{folder} has no weights: no model.safetensors, pytorch_model.bin or bert_model.ckpt.index")
    return files
