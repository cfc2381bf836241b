"""Write complete model directories for other libraries: weights, tokenizer and card."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bert_jax.checkpoints.card import CARD
from bert_jax.checkpoints.export import Tuned, save_huggingface, save_sentence_transformers, target_of
from bert_jax.errors import InputError
from bert_jax.files import write_folder
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.tokenizers.tokenizer_json import save_for_transformers

Library = Literal["huggingface", "sentence-transformers"]
USES = {"huggingface": "text-classification", "sentence-transformers": "sentence-similarity"}
"""Target library of a classifier -> pipeline tag of its card."""


def check_new(folder: Path) -> None:
    """Refuse a path that exists, unless it is an empty folder.

    Raises:
        InputError: the path is a file, or a folder that is not empty.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise InputError(f"{folder} exists and {'is not empty' if folder.is_dir() else 'is a file'}: name another")


def save_tuned(
    folder: Path, tuned: Tuned, tokenizer: Tokenizer, max_length: int, card: Callable[[str], str]
) -> Library:
    """Write a fine-tuned classifier for `transformers` if it supports the readout, else for sentence-transformers.

    Args:
        folder: the model directory.
        tuned: the model.
        tokenizer: the tokenizer of the model.
        max_length: length in tokens to which texts are truncated.
        card: function from a pipeline tag of the hub to the text of the card.

    Raises:
        InputError: neither library can express the readout, or the folder cannot be written.
    """
    library: Library = target_of(tuned.readout, tuned.checkpoint.config)

    def write(partial: Path) -> None:
        if library == "huggingface":
            save_huggingface(partial, tuned)
        else:
            save_sentence_transformers(partial, tuned, max_length)
        save_for_transformers(tokenizer, partial, max_length, tuned.checkpoint.config.num_segments > 0)
        (partial / CARD).write_text(card(USES[library]), encoding="utf-8")

    write_folder(folder, write)
    return library
