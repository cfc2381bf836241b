"""Settings of `experiments.plan`."""

from dataclasses import dataclass

from bert_jax.config import FinetuneConfig, ReadoutConfig
from bert_jax.errors import InputError
from experiments.settings.pretraining import PretrainRun


@dataclass(frozen=True, kw_only=True)
class Plan(PretrainRun):
    """Say what a pretraining takes on accelerators that are not here; it takes the settings of experiments.pretrain."""

    topology: str = ""
    """Slice of TPUs by its layout, such as v5e:16x16, v5p:4x4x4 or v6e:4x4, or number of GPUs, such as h100:8."""
    vocab_size: int = 30522
    """Size of the vocabulary; with --corpus, it is that of its tokenizer."""


@dataclass(frozen=True, kw_only=True)
class TuningPlan:
    """Say what a fine-tuning, or a population of them, takes on accelerators that are not here."""

    topology: str = ""
    """Slice of TPUs by its layout, such as v5e:2x4, or number of GPUs, such as h100:1."""
    encoder: str = "base"
    """Model directory or hub id; or a size, tiny to large or layers/hidden/heads, with BERT's vocabulary."""
    pooling: str = "cls"
    """Pooling spec."""
    layers: str = "last"
    """Layers spec."""
    projection: str = "tanh"
    """Projection spec; tanh is BERT's own pooler."""
    classes: int = 2
    """Classes of the task; 1 for scores."""
    train_rows: int = 10_000
    """Number of training rows, for the number of steps."""
    together: int = 1
    """Number of runs, which differ in seed and learning rate, to train as one program."""
    finetune: FinetuneConfig = FinetuneConfig()

    def __post_init__(self) -> None:
        for field in ("classes", "train_rows", "together"):
            if getattr(self, field) < 1:
                raise InputError(f"--{field.replace('_', '-')} {getattr(self, field)}: it must be at least 1")

    @property
    def readout(self) -> ReadoutConfig:
        """The readout of the settings."""
        return ReadoutConfig(self.layers, self.pooling, self.projection)
