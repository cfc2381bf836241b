"""Settings as frozen dataclasses. A field's docstring is its `--help`."""

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bert_jax.errors import InputError, unknown
from bert_jax.spec import parse_spec, parse_sum, split_outside_brackets


def require(condition: bool, message: str) -> None:
    """Raise an `InputError` with a message, unless a condition holds."""
    if not condition:
        raise InputError(message)


Precision = Literal["default", "highest"]
"""Precision of float32 matrix products: `default` is the platform's own, `highest` is float32 on every platform."""

Together = int | Literal["auto"]
"""Runs of the largest population; `auto` for as many as fit into the memory of the devices."""


def _omitted(default: str) -> Any:
    """Make a field that is left out of stored settings at its default, as before it existed."""
    return dataclasses.field(default=default, metadata={"omit_default": True})


@dataclass(frozen=True)
class ComputeConfig:
    """Computation of a network; results do not depend on it, apart from rounding."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations and matrix products. Parameters, softmax, layer normalisation and losses stay float32."""
    remat: bool = False
    """Keep only the input of each block for the backward pass and compute the rest again: less memory, more time.
    (XLA for CPUs saves memory by it only together with scan.)"""
    scan: bool = False
    """Compile one block and loop over the layers: deep models compile faster."""
    attention: Literal["auto", "plain", "fused"] = "auto"
    """fused: one kernel if the accelerator has it, without dropout on attention probabilities; plain: separate
    operations; auto: fused wherever the results are the same."""
    precision: Precision = _omitted("default")
    """Precision of float32 products in training. default: the platform's, one bfloat16 pass on TPUs and TF32 on recent
    NVIDIA GPUs, several times as fast; highest: float32 on every platform. Evaluation always uses highest."""

    gradients: Literal["float32", "bfloat16"] = _omitted("float32")
    """Type in which a pretraining sums its gradients over devices: bfloat16 halves what its links carry, and rounds."""

    @property
    def evaluation_precision(self) -> Precision:
        """Precision of products outside training: `highest` for float32, the platform's fastest for bfloat16."""
        return "highest" if self.dtype == "float32" else "default"


@dataclass(frozen=True)
class BertConfig:
    """The architecture of an encoder; defaults are BERT-base, uncased (arXiv 1810.04805).

    Other architectures are subclasses, each beside its network in `bert_jax.model.architectures`.
    """

    fewest_segments: ClassVar[int] = 1
    """0 for an architecture that can be without segment embeddings."""

    vocab_size: int = 30522
    """Number of token ids."""
    hidden_size: int = 768
    """Width D of a token's representation."""
    num_layers: int = 12
    """Number N of transformer blocks."""
    num_heads: int = 12
    """Attention heads H; hidden_size must be a multiple."""
    intermediate_size: int = 3072
    """Width F of the feed-forward layer."""
    max_length: int = 512
    """Number of learned positions: the longest input."""
    num_segments: int = 2
    """Number of segment (token type) embeddings."""
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    """gelu: by erf; gelu_tanh: the approximation by tanh in the original TensorFlow code at HEAD."""
    dropout: float = 0.1
    """Dropout rate on embeddings, block outputs and the classifier's input."""
    attention_dropout: float = 0.1
    """Dropout rate on attention probabilities."""
    layer_norm_eps: float = 1e-12
    """Added to the variance in layer normalisation."""
    initializer_range: float = 0.02
    """Standard deviation of the truncated normal that initialises weights."""
    causal: bool = False
    """Each token sees only those before it, as in the left-to-right model of BERT's Table 5."""
    compute: ComputeConfig = ComputeConfig()

    def __post_init__(self) -> None:
        sizes = (
            "vocab_size",
            "hidden_size",
            "num_layers",
            "num_heads",
            "intermediate_size",
            "max_length",
            "num_segments",
        )
        for field in sizes:
            least = self.fewest_segments if field == "num_segments" else 1
            require(getattr(self, field) >= least, f"{field} must be at least {least}, not {getattr(self, field)}")
        require(
            self.hidden_size % self.num_heads == 0,
            f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}",
        )
        for field in ("dropout", "attention_dropout"):
            require(0 <= getattr(self, field) < 1, f"{field} must be in [0, 1), not {getattr(self, field)}")
        for field in ("layer_norm_eps", "initializer_range"):
            require(getattr(self, field) > 0, f"{field} must be positive, not {getattr(self, field)}")


PRESETS = {
    name: BertConfig(num_layers=layers, hidden_size=width, num_heads=heads, intermediate_size=4 * width)
    for name, layers, width, heads in [
        ("tiny", 2, 128, 2),
        ("mini", 4, 256, 4),
        ("small", 4, 512, 8),
        ("medium", 8, 512, 8),
        ("base", 12, 768, 12),
        ("large", 24, 1024, 16),
    ]
}
"""The published sizes: base and large from the paper, the others from arXiv 1908.08962."""


def preset(name: str, **changes: Any) -> BertConfig:
    """Build the architecture called `name`, with `changes` to its fields.

    Args:
        name: a published size, or layers/hidden/heads as in BERT's Table 6, with a feed-forward layer of width 4 D.

    Raises:
        InputError: there is no preset of that name.

    >>> preset("6/768/3").num_heads
    3
    """
    if name in PRESETS:
        return dataclasses.replace(PRESETS[name], **changes)
    if not re.fullmatch(r"\d+/\d+/\d+", name):
        raise unknown("preset", name, [*PRESETS, "LAYERS/HIDDEN/HEADS"])
    layers, width, heads = map(int, name.split("/"))
    sizes = {"num_layers": layers, "hidden_size": width, "num_heads": heads, "intermediate_size": 4 * width}
    return BertConfig(**(sizes | changes))


@dataclass(frozen=True)
class ReadoutConfig:
    """A readout from token vectors to one sentence vector: three independent choices, each a spec string."""

    layers: str = "last"
    """last, an index (-2; 0 is the embedding layer), avg(1,-1), max(-1,-2), concat(-2,-1), mix."""
    pooling: str = "cls"
    """cls, mean, max, attention(num_heads=4), ... or several joined by +, or a dotted path to your own class."""
    projection: str = "none"
    """none, tanh (BERT's pooler, with the checkpoint's trained weights), mlp (the same layer, fresh), head (what
    ModernBERT has before its classifier, fresh)."""

    def __post_init__(self) -> None:
        parse_spec(self.layers)
        parse_sum(self.pooling)
        parse_spec(self.projection)

    def __str__(self) -> str:
        return f"{self.layers}/{self.pooling}/{self.projection}"

    @classmethod
    def parse(cls, text: str) -> "ReadoutConfig":
        """Parse layers/pooling/projection: `ReadoutConfig.parse(str(readout)) == readout`.

        Raises:
            InputError: the text is not layers/pooling/projection.

        >>> ReadoutConfig.parse("avg(1,-1)/attention(num_heads=4)/none").pooling
        'attention(num_heads=4)'
        """
        parts = split_outside_brackets(text, "/")
        if len(parts) != 3:
            raise InputError(f"cannot read the readout {text!r}: write layers/pooling/projection, as last/cls/tanh")
        return cls(*parts)


@dataclass(frozen=True)
class OptimConfig:
    """AdamW as BERT used it, with linear warm-up and linear decay to zero."""

    algorithm: Literal["adamw", "lamb"] = "adamw"
    """lamb scales each layer's update to its weights, for batches of thousands (arXiv 1904.00962)."""
    learning_rate: float = 5e-5
    """Peak learning rate."""
    warmup: float = 0.1
    """Share of the steps in which the rate rises from zero."""
    decay_power: float = 1.0
    """After the warm-up the rate falls to zero as (1 - progress) to this power."""
    weight_decay: float = 0.01
    """Decoupled decay, on weight matrices only: never on biases or layer normalisation."""
    b1: float = 0.9
    """Decay of the first moment."""
    b2: float = 0.999
    """Decay of the second moment."""
    eps: float = 1e-6
    """Added to the root of the second moment."""
    bias_correction: bool = True
    """Correct the bias of both moments. Without it, as in BERT's own code, small tasks are unstable (arXiv 2006.04884,
    2006.05987)."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, f"learning_rate must be positive, not {self.learning_rate}")
        require(0 <= self.warmup <= 1, f"warmup is a share of the steps, in [0, 1], not {self.warmup}")
        require(self.clip_norm > 0, f"clip_norm must be positive, not {self.clip_norm}")
        require(self.decay_power > 0, f"decay_power must be positive, not {self.decay_power}")


@dataclass(frozen=True)
class FinetuneConfig:
    """One fine-tuning run, apart from its task, readout and seed."""

    epochs: int = 3
    """Passes over the training set."""
    batch_size: int = 32
    """Examples in a training step, all devices together."""
    eval_batch_size: int = 64
    """Examples in an evaluation step, all devices together."""
    max_length: int = 128
    """Longer inputs are truncated to this many tokens."""
    num_buckets: int = 6
    """Largest number of input lengths to compile for; more lengths mean less padding and longer compilation."""
    optim: OptimConfig = OptimConfig()
    dropout: float | None = None
    """Dropout rate in place of all rates of the encoder; by default the encoder's own."""
    from_scratch: bool = False
    """Initialise the encoder's weights at random, by the seed, to measure what pretraining is worth."""
    precision: Precision = _omitted("default")
    """Precision of float32 products in training. default: the platform's, one bfloat16 pass on TPUs and TF32 on recent
    NVIDIA GPUs, several times as fast; highest: float32 on every platform. Evaluation always uses highest."""

    def __post_init__(self) -> None:
        for field in ("epochs", "batch_size", "eval_batch_size", "num_buckets"):
            require(getattr(self, field) >= 1, f"{field} must be at least 1, not {getattr(self, field)}")
        require(self.max_length >= 8, f"max_length must be at least 8, not {self.max_length}")
        require(self.dropout is None or 0 <= self.dropout < 1, f"dropout must be in [0, 1), not {self.dropout}")


@dataclass(frozen=True)
class SiameseConfig:
    """One training of sentence vectors, apart from its data, objective, readout and seed.

    Defaults are Sentence-BERT's (arXiv 1908.10084, section 3.1) where it gives any.
    """

    epochs: int = 1
    """Passes over the training set."""
    batch_size: int = 16
    """Pairs in a training step, all devices together."""
    eval_batch_size: int = 64
    """Sentences in an evaluation step, all devices together."""
    max_length: int = 128
    """Longer sentences are truncated to this many tokens."""
    num_buckets: int = 6
    """Largest number of input lengths to compile for; a pair has the length of its longer sentence."""
    optim: OptimConfig = OptimConfig(learning_rate=2e-5)
    dropout: float | None = None
    """Dropout rate in place of all rates of the encoder; by default the encoder's own."""
    training_projection: str | None = None
    """Projection that is used in training only and dropped for evaluation (SimCSE's mlp, arXiv 2104.08821, Table 6). By
    default the readout's projection is used in both."""
    temperature: float = 0.05
    """Temperature of the softmax over in-batch negatives; used by simcse only."""
    precision: Precision = _omitted("default")
    """Precision of float32 products in training. default: the platform's, one bfloat16 pass on TPUs and TF32 on recent
    NVIDIA GPUs, several times as fast; highest: float32 on every platform. Evaluation always uses highest."""

    def __post_init__(self) -> None:
        for field in ("epochs", "batch_size", "eval_batch_size", "num_buckets"):
            require(getattr(self, field) >= 1, f"{field} must be at least 1, not {getattr(self, field)}")
        require(self.max_length >= 8, f"max_length must be at least 8, not {self.max_length}")
        require(self.dropout is None or 0 <= self.dropout < 1, f"dropout must be in [0, 1), not {self.dropout}")
        require(self.temperature > 0, f"temperature must be positive, not {self.temperature}")
        if self.training_projection is not None:
            parse_spec(self.training_projection)


@dataclass(frozen=True)
class ProbeConfig:
    """A linear head over frozen sentence vectors, by SentEval's protocol (arXiv 1803.05449) or one close to it."""

    protocol: Literal["scaled", "senteval"] = _omitted("scaled")
    """senteval: what SentEval fits, for figures beside published ones; scaled: the same folds, with features brought to
    one scale, more values of C, and ridge regression for scores, for comparing layers and encoders."""
    pairs: Literal["separate", "joint"] = "separate"
    """separate: encode the two texts separately and give the head [|u-v|, u*v] as in SentEval, after u and v if the
    order of the texts matters; joint: encode the two texts together, as in fine-tuning."""
    c_values: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Values of C (1 / alpha of ridge regression) of protocol scaled: the best on held-out rows, of equals the
    smallest. Features are divided by one number, so that their mean variance is 1, and not standardised singly."""
    folds: int = 10
    """Folds of the training rows on which C is chosen, if the task has no validation set."""
    max_length: int = 128
    """Longer inputs are truncated to this many tokens."""
    batch_size: int = 64
    """Texts that the encoder reads in a step, all devices together."""

    def __post_init__(self) -> None:
        require(bool(self.c_values), "c_values is empty")
        own = self.protocol == "scaled" or self.c_values == type(self).c_values
        require(own, f"c_values: protocol {self.protocol} has its own; leave them out, or use protocol scaled")
        for value in self.c_values:
            require(0 < value < math.inf, f"c_values {value}: C must be a positive number")
        require(self.folds >= 2, f"folds must be at least 2, not {self.folds}")
        require(self.max_length >= 8, f"max_length must be at least 8, not {self.max_length}")


@dataclass(frozen=True)
class StsConfig:
    """Similarity without any training: the cosine of two sentence vectors against a human score."""

    aggregation: Literal["all", "mean", "wmean"] = "all"
    """Aggregation over the subsets of a SemEval set. all: one correlation over all pairs; mean: mean of the subsets'
    correlations; wmean: their mean weighted by pairs. Numbers of different aggregations are not comparable."""
    max_length: int = 256
    """Longer inputs are truncated to this many tokens."""
    batch_size: int = 64
    """Texts that the encoder reads in a step, all devices together."""
    whitening: Literal["set", "train"] = _omitted("set")
    """Texts that the projection whiten is fitted on, without their labels: those of the set itself, or training texts.
    """

    def __post_init__(self) -> None:
        require(self.max_length >= 8, f"max_length must be at least 8, not {self.max_length}")
