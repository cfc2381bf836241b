"""Pretraining objectives: a registry of objectives over tokens, and one of objectives over pairs of segments.

An objective is one class: the making of its examples, its loss, its measures, and its text on the model card. A loss
is the cross-entropy of the right classes among the logits of a head; `train.step.pretrain_objective` computes it.

A new objective is a class with a decorator; `ObjectiveConfig` then accepts its name:

    @pair_objective("reversed")
    class Reversed(SentenceOrder):
        def segments(self, corpus, token, target, u):
            ...
"""

import itertools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bert_jax.corpus.corpus import Corpus
from bert_jax.data.masking import Masked, mask_tokens, next_tokens, num_slots
from bert_jax.data.segments import Pairs, in_order_or_not, next_or_random, single, truncated
from bert_jax.errors import InputError, unknown
from bert_jax.pretrain_config import ObjectiveConfig
from bert_jax.tokenizers.template import SpecialIds
from bert_jax.types import Array, PretrainBatch, Tokens, Tree

TOKEN_OBJECTIVES: dict[str, type["TokenObjective"]] = {}
"""Value of `ObjectiveConfig.tokens` to objective."""
PAIR_OBJECTIVES: dict[str, type["PairObjective"]] = {}
"""Value of `ObjectiveConfig.pairs` to objective."""


def token_objective(name: str) -> Callable[[type["TokenObjective"]], type["TokenObjective"]]:
    """Class decorator: register an objective over tokens under `name`."""

    def register(cls: type["TokenObjective"]) -> type["TokenObjective"]:
        TOKEN_OBJECTIVES[name] = cls
        return cls

    return register


def pair_objective(name: str) -> Callable[[type["PairObjective"]], type["PairObjective"]]:
    """Class decorator: register an objective over pairs of segments under `name`."""

    def register(cls: type["PairObjective"]) -> type["PairObjective"]:
        PAIR_OBJECTIVES[name] = cls
        return cls

    return register


def make_objectives(config: ObjectiveConfig) -> tuple["TokenObjective", "PairObjective"]:
    """The two objectives of a pretraining.

    Raises:
        InputError: no objective has that name.
    """
    if config.tokens not in TOKEN_OBJECTIVES:
        raise unknown("token objective", config.tokens, TOKEN_OBJECTIVES)
    if config.pairs not in PAIR_OBJECTIVES:
        raise unknown("pair objective", config.pairs, PAIR_OBJECTIVES)
    return TOKEN_OBJECTIVES[config.tokens](config), PAIR_OBJECTIVES[config.pairs](config)


def all_measures() -> dict[str, "Measure"]:
    """The measures of all objectives by name, those of tokens first."""
    of_tokens = [measure for objective in TOKEN_OBJECTIVES.values() for measure in objective.measures]
    of_pairs = [measure for objective in PAIR_OBJECTIVES.values() for measure in objective.measures]
    return {measure.name: measure for measure in (*of_tokens, *of_pairs)}


class Measure(NamedTuple):
    """A logged measure. brief: its format on a terminal; title: of its panel among the curves; empty for none."""

    name: str
    brief: str = ""
    title: str = ""


class Labelled(NamedTuple):
    """A head's logits [... C], the right classes [...] int32, and the weight of each in the loss [...] float32.

    Named "x" by an objective, they are logged as "x_loss" and "x_accuracy".
    """

    logits: Array
    labels: Array
    weights: Array


class Vocabulary(NamedTuple):
    """Token ids. starts_word: [V] True for ids that begin a word; None if unknown."""

    special: SpecialIds
    size: int
    starts_word: np.ndarray | None

    @property
    def words(self) -> tuple[int, int]:
        """First and one past the last id of the longest run of ids without a special one.

        >>> Vocabulary(SpecialIds(0, 100, 101, 102, 103), 30522, None).words
        (104, 30522)
        """
        places = sorted({-1, *self.special, self.size})
        return max(((low + 1, high) for low, high in itertools.pairwise(places)), key=lambda run: run[1] - run[0])


class TokenObjective:
    """Prediction of tokens. The head gives logits [B M V] at M slots of each example.

    Attributes:
        causal: True if a token attends only to itself and to those before it.
        measures: its logged losses and measures, with their display.
        card: name of the predicted tokens in the model card.
        use: the hub's pipeline tag for a model with this objective.
    """

    causal = False
    measures: tuple[Measure, ...] = (
        Measure("mlm_loss", "MLM loss {:.2f}", "loss of masked tokens (nats)"),
        Measure("mlm_accuracy", "accuracy {:.1%}", "accuracy of masked tokens"),
    )
    card = "masked tokens"
    use = "fill-mask"

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config

    def check(self, vocabulary: Vocabulary) -> None:
        """Refuse a tokenizer that lacks what examples need; by default none is refused.

        Raises:
            InputError: with the reason.
        """

    def share(self) -> float:
        """The share of tokens that are predicted, on average."""
        raise NotImplementedError

    def num_slots(self, max_length: int) -> int:
        """Number of slots M in every example of that length."""
        raise NotImplementedError

    def choose(self, tokens: Tokens, vocabulary: Vocabulary, draw: Callable[[int], np.ndarray]) -> Masked:
        """Choose the tokens of some examples to predict, and replace them in the input.

        Args:
            tokens: the examples [B L].
            vocabulary: vocabulary of their ids.
            draw: `draw(n)` gives n times 64 random bits for each example [B n].
        """
        raise NotImplementedError

    def labelled(self, logits: Tree, batch: PretrainBatch) -> dict[str, Labelled]:
        """Logits, labels and weights of each loss, by name.

        Args:
            logits: `PretrainLogits` of the model.
            batch: its batch.
        """
        return {"mlm": Labelled(logits.mlm, batch.masked_ids, batch.masked_weights)}


@token_objective("mlm")
class MaskedTokens(TokenObjective):
    """Masked language model: predict tokens replaced by [MASK] or a random token, or kept (arXiv 1810.04805, section
    3.1)."""

    def check(self, vocabulary: Vocabulary) -> None:
        masking = self.config.masking
        if masking != "token" and vocabulary.starts_word is None:
            raise InputError(f"masking {masking} needs a tokenizer that says which pieces begin a word")

    def share(self) -> float:
        return self.config.mask_rate

    def num_slots(self, max_length: int) -> int:
        return num_slots(max_length, self.config)

    def choose(self, tokens: Tokens, vocabulary: Vocabulary, draw: Callable[[int], np.ndarray]) -> Masked:
        ids, mask, special = (np.asarray(array) for array in (tokens.ids, tokens.mask, tokens.special))
        length = ids.shape[1]
        return mask_tokens(
            ids,
            mask & ~special,
            mask.sum(1),
            draw(length + self.num_slots(length)),
            objective=self.config,
            starts_word=vocabulary.starts_word,
            mask_id=vocabulary.special.mask,
            vocabulary=vocabulary.words,
        )


@token_objective("ltr")
class NextTokens(TokenObjective):
    """Left-to-right language model: predict every token from those before it (arXiv 1810.04805, Table 5)."""

    causal = True
    card = "every next token"
    use = "feature-extraction"

    def share(self) -> float:
        return 1.0

    def num_slots(self, max_length: int) -> int:
        return max_length - 1

    def choose(self, tokens: Tokens, vocabulary: Vocabulary, draw: Callable[[int], np.ndarray]) -> Masked:
        return next_tokens(np.asarray(tokens.ids), np.asarray(tokens.mask))


class PairObjective:
    """Prediction of how segment B follows segment A. The head gives two logits [B 2] for each example.

    Attributes:
        num_special: special tokens of an example: [CLS], and a [SEP] for each segment.
        trains_head: False if nothing is predicted, so that the pooler and the head keep their initial weights.
        measures: its logged losses and measures, with their display.
    """

    num_special = 3
    trains_head = True
    measures: tuple[Measure, ...] = (
        Measure("nsp_loss"),
        Measure("nsp_accuracy", "NSP accuracy {:.1%}", "accuracy of sentence pairs"),
    )

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config

    def check(self, corpus: Corpus) -> None:
        """Refuse a corpus that lacks what examples need; by default none is refused.

        Raises:
            InputError: with the reason.
        """

    def segments(self, corpus: Corpus, token: np.ndarray, target: np.ndarray, u: np.ndarray) -> Pairs:
        """Segments about some tokens of a corpus; `truncated` then cuts them to `target` tokens.

        Args:
            corpus: the text.
            token: [B] indices of tokens.
            target: [B] tokens wanted in each example.
            u: [9 B] random numbers in [0, 1). Rows 3 to 6 and 8 are free for use.
        """
        raise NotImplementedError

    def labelled(self, logits: Tree, batch: PretrainBatch) -> dict[str, Labelled]:
        """Logits, labels and weights of each loss, by name; arguments as `TokenObjective.labelled`."""
        return {"nsp": Labelled(logits.nsp, batch.is_next, batch.weights)}


def _check_paired(corpus: Corpus, asked: str) -> None:
    """Refuse a corpus in which no sentence has a next one."""
    if not corpus.paired_share:
        raise InputError(
            f"every document is one sentence; {asked} needs two. "
            "Prepare documents of several sentences, or use --pretrain.objective.pairs none"
        )


@pair_objective("nsp")
class NextSentence(PairObjective):
    """Next-sentence prediction: B follows A, or is from another document (arXiv 1810.04805, section 3.1)."""

    def check(self, corpus: Corpus) -> None:
        if corpus.num_documents < 2:
            raise InputError("the corpus has one document; a random next sentence (pairs nsp) needs another one")
        _check_paired(corpus, "a true next sentence (pairs nsp)")
        # An example without a pair has weight 0 in `sop`; in `nsp` its B is random text.
        if corpus.paired_share < 0.5:
            warnings.warn(
                f"only {corpus.paired_share:.1%} of the text is in documents of two sentences or more, so fewer than "
                "half of the examples can have a true next sentence (pairs nsp)",
                stacklevel=5,
            )

    def segments(self, corpus: Corpus, token: np.ndarray, target: np.ndarray, u: np.ndarray) -> Pairs:
        return next_or_random(corpus, token, target, u)


@pair_objective("sop")
class SentenceOrder(PairObjective):
    """Sentence-order prediction: A and B are in order, or exchanged (arXiv 1909.11942)."""

    def check(self, corpus: Corpus) -> None:
        _check_paired(corpus, "an order of sentences (pairs sop)")

    def segments(self, corpus: Corpus, token: np.ndarray, target: np.ndarray, u: np.ndarray) -> Pairs:
        return in_order_or_not(corpus, token, target, u)


@pair_objective("none")
class NoPairs(PairObjective):
    """One segment, and no loss over pairs."""

    num_special = 2
    trains_head = False
    measures = ()

    def segments(self, corpus: Corpus, token: np.ndarray, target: np.ndarray, u: np.ndarray) -> Pairs:
        return single(corpus, token, target, u)

    def labelled(self, logits: Tree, batch: PretrainBatch) -> dict[str, Labelled]:
        return {}


def text_length(max_length: int, objective: ObjectiveConfig) -> int:
    """Tokens of an example that are text: all but the special ones."""
    return max_length - make_objectives(objective)[1].num_special


def num_examples(corpus: Corpus, max_length: int, objective: ObjectiveConfig) -> int:
    """Number of examples in an epoch: as many of `max_length` tokens as the corpus fills."""
    return max(1, len(corpus.tokens) // text_length(max_length, objective))


def make_pairs(
    corpus: Corpus,
    indices: Int[np.ndarray, " B"],
    draws: Float[np.ndarray, "B 9"],
    max_length: int,
    objective: ObjectiveConfig,
) -> Pairs:
    """The pairs of some indices; a pure function of each index and its row of random numbers in [0, 1)."""
    budget = text_length(max_length, objective)
    u = draws.T
    target = np.where(u[0] < objective.short_share, 2 + (u[1] * (budget - 1)).astype(int), budget)
    stride = len(corpus.tokens) / num_examples(corpus, max_length, objective)
    token = np.minimum(((indices + u[2]) * stride).astype(int), len(corpus.tokens) - 1)
    return truncated(make_objectives(objective)[1].segments(corpus, token, target, u), target, u[7])
