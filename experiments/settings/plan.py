"""Settings of `experiments.plan`."""

from dataclasses import dataclass

from experiments.settings.pretraining import PretrainRun


@dataclass(frozen=True, kw_only=True)
class Plan(PretrainRun):
    """Say what a pretraining takes on accelerators that are not here; it takes the settings of experiments.pretrain."""

    topology: str = ""
    """Slice of TPUs by its layout, such as v5e:16x16, v5p:4x4x4 or v6e:4x4, or number of GPUs, such as h100:8."""
    vocab_size: int = 30522
    """Size of the vocabulary; with --corpus, it is that of its tokenizer."""
