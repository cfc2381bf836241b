"""Encoders of one segment, which cannot read two texts together."""

from collections.abc import Iterable
from pathlib import Path

from bert_jax.checkpoints.directory import read_config
from bert_jax.checkpoints.sentence_transformers import encoder_folder
from bert_jax.config import BertConfig
from bert_jax.errors import InputError
from bert_jax.tokenizers.template import Encoding
from bert_jax.tokenizers.tokenizer import load_tokenizer

_ONE_SEGMENT = (
    "this encoder has one segment (type_vocab_size is 1 in its config.json) and cannot read pairs of texts together: "
    "take tasks of single texts, or probe with --probe.pairs separate"
)


def check_pairs(folder: Path, task: str) -> None:
    """Raise if the encoder of a model directory cannot read the pairs of a task together.

    Raises:
        InputError: it has one segment, and its tokenizer gives another one to the second text.
    """
    if read_config(folder).num_segments == 1 and load_tokenizer(encoder_folder(folder)).template.second:
        raise InputError(f"{task}: {_ONE_SEGMENT}")


def check_segments(config: BertConfig, encodings: Iterable[Encoding]) -> None:
    """Raise if pairs of texts are given to an encoder without an embedding for the second segment.

    Raises:
        InputError: the encoder has one segment and an input has two.
    """
    if config.num_segments == 1 and any(any(encoding.segments) for encoding in encodings):
        raise InputError(_ONE_SEGMENT)
