"""Encoders that commands start from: named ones, and those pretrained on the synthetic language."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import FlagCreatePairsOff

from bert_jax.checkpoints.directory import resolve
from bert_jax.errors import InputError
from bert_jax.pretrained import Pretrained, load
from experiments.pretrain import pretrain_encoder
from experiments.settings.pretraining import PretrainRun
from experiments.settings.shared import SyntheticEncoder


@dataclass(frozen=True)
class Case:
    """Case handling of texts; by default as the tokenizer's files say, or else by its vocabulary."""

    cased: FlagCreatePairsOff[bool] = False
    """Keep capitals, whatever the tokenizer's files say."""
    uncased: FlagCreatePairsOff[bool] = False
    """Lowercase texts, whatever the tokenizer's files say."""

    def __post_init__(self) -> None:
        if self.cased and self.uncased:
            raise InputError("--cased and --uncased exclude each other")

    @property
    def asked(self) -> bool | None:
        """True for --cased, False for --uncased, None for neither."""
        return self.cased if self.cased or self.uncased else None


def load_encoder(encoder: str | Path, encoder_only: bool = True, case: Case | None = None) -> Pretrained:
    """Load an encoder as `bert_jax.load` does, and print its casing and the reason for it to standard error.

    Raises:
        InputError: see `bert_jax.load`.
    """
    pretrained = load(encoder, encoder_only, (case or Case()).asked)
    print(f"{encoder}: {pretrained.tokenizer.casing}", file=sys.stderr)
    return pretrained


def find_encoder(encoder: str | None) -> Path:
    """Folder of the encoder that --encoder names.

    Raises:
        InputError: --encoder is missing, or its encoder does not exist.
    """
    if encoder is None:
        raise InputError("--encoder is needed: a model directory, or a hub id such as bert-base-uncased")
    return resolve(encoder)


def own_encoder(settings: SyntheticEncoder, out: Path) -> Path:
    """Model directory of an encoder of the synthetic language, pretrained in `out` if missing."""
    return pretrain_encoder(
        PretrainRun(out=out, documents=settings.documents, vocab=settings.vocab, pretrain=settings.pretrain)
    )
