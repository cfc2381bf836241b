"""The encoder that a command starts from: one that is named, or one of the synthetic language."""

from pathlib import Path

from bert_jax.checkpoints.directory import resolve
from bert_jax.errors import InputError
from experiments.pretrain import pretrain_encoder
from experiments.settings.pretraining import PretrainRun
from experiments.settings.shared import SyntheticEncoder


def find_encoder(encoder: str | None) -> Path:
    """The folder of the encoder that --encoder names.

    Raises:
        InputError: it names none, or one that is not there.
    """
    if encoder is None:
        raise InputError("--encoder is needed: a model directory, or a hub id such as bert-base-uncased")
    return resolve(encoder)


def own_encoder(settings: SyntheticEncoder, out: Path) -> Path:
    """The model directory of an encoder of the synthetic language, pretrained in `out` if it is not there yet."""
    return pretrain_encoder(
        PretrainRun(out=out, documents=settings.documents, vocab=settings.vocab, pretrain=settings.pretrain)
    )
