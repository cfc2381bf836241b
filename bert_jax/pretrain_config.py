"""Settings of pretraining as frozen dataclasses. A field's docstring is its `--help`."""

from dataclasses import dataclass
from typing import Literal

from bert_jax.config import ComputeConfig, OptimConfig, ReadoutConfig, preset, require


@dataclass(frozen=True)
class ObjectiveConfig:
    """Pretraining objectives; defaults are BERT's (arXiv 1810.04805, section 3.1 and appendix A.2)."""

    tokens: Literal["mlm", "ltr"] = "mlm"
    """mlm: predict masked tokens; ltr: predict every token from those before it (BERT's Table 5), with pairs none."""
    pairs: Literal["nsp", "sop", "none"] = "nsp"
    """nsp: predict whether B follows A or is from another document; sop: predict whether A and B are in order (arXiv
    1909.11942); none: one segment, and no loss over pairs."""
    masking: Literal["token", "whole_word", "span"] = "token"
    """Unit of masking: tokens, whole words, or spans of a geometric number of whole words (arXiv 1907.10529)."""
    mask_rate: float = 0.15
    """Share of tokens to predict."""
    mask_share: float = 0.8
    """Share of the predicted tokens that are replaced by [MASK]."""
    random_share: float = 0.1
    """Share of the predicted tokens that are replaced by a random token; the rest are kept."""
    short_share: float = 0.1
    """Share of examples with a random shorter length."""

    def __post_init__(self) -> None:
        require(0 < self.mask_rate < 1, f"mask_rate must be in (0, 1), not {self.mask_rate}")
        for field in ("mask_share", "random_share", "short_share"):
            require(0 <= getattr(self, field) <= 1, f"{field} must be in [0, 1], not {getattr(self, field)}")
        require(
            self.mask_share + self.random_share <= 1 + 1e-9,
            f"mask_share {self.mask_share} and random_share {self.random_share} are more than 1 together",
        )
        require(
            self.tokens != "ltr" or self.pairs == "none",
            f"tokens ltr needs pairs none: in a left-to-right model [CLS] sees no other token, so nothing about pairs "
            f"({self.pairs}) can be predicted from it",
        )


@dataclass(frozen=True)
class LongPhase:
    """Last steps of a pretraining, with longer examples: BERT used 128 tokens for 90% of its steps, then 512."""

    steps: int = 0
    """Number of these steps; 0 for none."""
    max_length: int = 512
    """Tokens in an example."""
    batch_size: int = 256
    """Examples in a step, all devices together."""


@dataclass(frozen=True)
class PretrainConfig:
    """One pretraining run from random initialisation, apart from its corpus."""

    preset: str = "tiny"
    """Architecture: tiny, mini, small, medium, base, large, or layers/hidden/heads such as 6/768/12."""
    max_length: int = 128
    """Tokens in an example, both segments together."""
    steps: int = 2000
    """Optimizer steps."""
    batch_size: int = 64
    """Examples in a step, all devices together."""
    accumulate: int = 1
    """Split each device's part of a batch into this many pieces, computed in turn: less memory, the same gradient."""
    long: LongPhase = LongPhase()
    """Last steps, with longer examples."""
    objective: ObjectiveConfig = ObjectiveConfig()
    nsp_readout: ReadoutConfig = ReadoutConfig(projection="tanh")
    """Readout from which the objective over pairs predicts."""
    dropout: float = 0.1
    """Dropout rate on embeddings and block outputs."""
    attention_dropout: float = 0.1
    """Dropout rate on attention probabilities; with 0, attention is a fused kernel on GPUs."""
    compute: ComputeConfig = ComputeConfig()
    optim: OptimConfig = OptimConfig(learning_rate=1e-3)
    seed: int = 0
    """Seed of the initialisation, the examples and the dropout."""

    def __post_init__(self) -> None:
        preset(self.preset)
        for field in ("steps", "batch_size", "accumulate"):
            require(getattr(self, field) >= 1, f"{field} must be at least 1, not {getattr(self, field)}")
        require(self.max_length >= 8, f"max_length must be at least 8, not {self.max_length}")
        require(self.seed >= 0, f"seed must not be negative, but is {self.seed}")
        require(
            self.compute.attention != "fused" or self.attention_dropout == 0,
            "compute.attention fused has no dropout: set attention_dropout to 0, or attention to auto",
        )
        require(0 <= self.long.steps <= self.steps, f"long.steps {self.long.steps} are part of the {self.steps} steps")
        if self.long.steps:
            require(
                self.long.max_length >= self.max_length,
                f"long.max_length {self.long.max_length} is less than max_length {self.max_length}",
            )


@dataclass(frozen=True)
class VocabConfig:
    """A vocabulary to train on the corpus itself."""

    size: int = 8000
    """Number of pieces; a small text cannot support a large number."""
    algorithm: Literal["unigram", "bpe"] = "unigram"
    """Algorithm of SentencePiece."""
    sentences: int = 200_000
    """Sentences to train on, spread over the corpus; memory use grows with their number."""
    lowercase: bool = True
    """Fold case, as in BERT's uncased models."""
