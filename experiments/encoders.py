"""An encoder for a command, which says how its text is lowercased, and flags to have it otherwise."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import FlagCreatePairsOff

from bert_jax.errors import InputError
from bert_jax.pretrained import Pretrained, load


@dataclass(frozen=True)
class Case:
    """Whether text is lowercased. By default as the tokenizer's files say, or else its vocabulary."""

    cased: FlagCreatePairsOff[bool] = False
    """Keep capitals, whatever the tokenizer's files say."""
    uncased: FlagCreatePairsOff[bool] = False
    """Lowercase texts, whatever the tokenizer's files say."""

    def __post_init__(self) -> None:
        if self.cased and self.uncased:
            raise InputError("--cased and --uncased exclude each other")

    @property
    def asked(self) -> bool | None:
        """True for cased, False for uncased, None where neither is asked for."""
        return self.cased if self.cased or self.uncased else None


def load_encoder(encoder: str | Path, encoder_only: bool = True, case: Case | None = None) -> Pretrained:
    """Load an encoder as `bert_jax.load` does, and say on standard error whether its text is lowercased, and why.

    Raises:
        InputError: as `bert_jax.load`.
    """
    pretrained = load(encoder, encoder_only, (case or Case()).asked)
    print(f"{encoder}: {pretrained.tokenizer.casing}", file=sys.stderr)
    return pretrained
