"""The methods that sentence-transformers' evaluators and MTEB call on a model, for everything that embeds texts."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bert_jax.errors import InputError, unknown
from bert_jax.types import Tree

QUERY, DOCUMENT = ("query",), ("document", "passage", "corpus")
"""Names of prompts, the first one there is used, as in sentence-transformers."""
_CHUNK = 1024
"""Texts between two lines of progress."""


class NoCard:
    """The model card to which evaluators of sentence-transformers write their scores, which they return as well."""

    def set_evaluation_metrics(self, *_: object) -> None:
        """Keep nothing."""


class EncodeInterface(ABC):
    """`encode` and its companions, with the arguments and results of sentence-transformers (6.2).

    Results that are tensors need torch.
    """

    prompts: Mapping[str, str] | None
    """Name -> text that `encode(prompt_name=...)` puts before every text; None if no prompt can be used, because the
    directory's pooling leaves the tokens of a prompt out."""
    similarity_fn_name = "cosine"
    """Name of what `similarity` computes."""
    model_card_data = NoCard()

    @abstractmethod
    def embed(self, texts: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Sentence vectors, float32 [texts, width]."""

    def encode(
        self,
        inputs: str | Iterable[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: object = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        *,
        sentences: str | Iterable[str] | None = None,
    ) -> Tree:
        """Sentence vectors: those of `embed(texts)`, by the directory's own readout or else the mean.

        Args:
            inputs: a text, for a vector [width]; or texts, for vectors [texts, width].
            prompt_name: a name in `prompts`.
            prompt: a text to put before every text; `prompt_name` is then not read.
            batch_size: texts in a step; by default few long texts or many short ones.
            show_progress_bar: write lines of progress to standard error.
            output_value: sentence_embedding, and nothing else.
            precision: float32, and nothing else.
            convert_to_numpy: False for a list of torch tensors.
            convert_to_tensor: True for one torch tensor.
            device: accepted and not used, as JAX chooses its own.
            normalize_embeddings: divide each vector by its length.
            truncate_dim: number of dimensions to keep, the first ones; before normalizing.
            sentences: the former name of `inputs`.

        Raises:
            InputError: an argument cannot be honoured, or see `embed`.
        """
        texts = inputs if inputs is not None else sentences
        if not isinstance(texts, Iterable):
            raise InputError(f"encode takes a text or a list of texts, not {texts!r:.40}")
        _check(output_value, precision, truncate_dim)
        before = self._prompt(prompt_name, prompt)
        many = [texts] if isinstance(texts, str) else list(texts)
        if before:
            many = [f"{before}{text}" for text in many]
        vectors = self._embed(many, batch_size, bool(show_progress_bar))[:, :truncate_dim]
        if normalize_embeddings:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        found = vectors[0] if isinstance(texts, str) else vectors
        if convert_to_numpy and not convert_to_tensor:
            return found
        import torch

        tensor = torch.from_numpy(found)
        return tensor if convert_to_tensor or isinstance(texts, str) else list(tensor)

    def encode_query(self, inputs: str | Iterable[str], **settings: Tree) -> Tree:
        """`encode`, with the prompt called query if there is one and no other is given."""
        return self.encode(inputs, **self._default_prompt(QUERY, settings))

    def encode_document(self, inputs: str | Iterable[str], **settings: Tree) -> Tree:
        """`encode`, with the prompt called document, passage or corpus if there is one and no other is given."""
        return self.encode(inputs, **self._default_prompt(DOCUMENT, settings))

    def similarity(self, embeddings1: Tree, embeddings2: Tree) -> Tree:
        """Cosines of each vector of the first [N D] with each of the second [M D], a torch tensor [N M]."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Tree, embeddings2: Tree) -> Tree:
        """Cosines of the n-th vectors of both [N D], a torch tensor [N]."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(-1)

    def _embed(self, texts: list[str], batch_size: int | None, progress: bool) -> np.ndarray:
        if not progress or not texts:
            return self.embed(texts, batch_size=batch_size)
        parts = []
        for start in range(0, len(texts), _CHUNK):
            parts.append(self.embed(texts[start : start + _CHUNK], batch_size=batch_size))
            print(f"encoded {min(start + _CHUNK, len(texts)):,} of {len(texts):,} texts", file=sys.stderr)
        return np.concatenate(parts)

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        if name is None and prompt is None:
            return ""
        if self.prompts is None:
            raise InputError(
                "this model's pooling leaves the tokens of a prompt out (include_prompt is false), which is not "
                "supported here: encode without a prompt, or use sentence-transformers"
            )
        if prompt is not None:
            return prompt
        if name is None or name not in self.prompts:
            raise unknown("prompt", name, self.prompts)
        return self.prompts[name]

    def _default_prompt(self, names: Sequence[str], settings: dict[str, Tree]) -> dict[str, Tree]:
        given = settings.get("prompt_name") is not None or settings.get("prompt") is not None
        found = [name for name in names if name in (self.prompts or {})]
        return settings | {"prompt_name": found[0]} if found and not given else settings


def _check(output_value: str | None, precision: str | None, truncate_dim: int | None) -> None:
    if output_value != "sentence_embedding":
        raise InputError(f"output_value {output_value!r}: only sentence_embedding is supported")
    if precision not in ("float32", None):
        raise InputError(
            f"precision {precision!r}: only float32 is supported; convert the vectors with "
            "sentence_transformers.util.quantization.quantize_embeddings"
        )
    if truncate_dim is not None and truncate_dim < 1:
        raise InputError(f"truncate_dim {truncate_dim}: it must be at least 1")


def _unit(vectors: Tree) -> Tree:
    """Vectors as a torch tensor [N D], of length 1."""
    import torch

    if not isinstance(vectors, torch.Tensor):
        vectors = torch.from_numpy(np.stack([np.asarray(vector) for vector in vectors]))
    return torch.nn.functional.normalize(vectors.reshape(-1, vectors.shape[-1]), dim=-1)
