"""bert_jax: BERT in JAX, with the readout of its sentence vectors as the thing under test."""

from typing import TYPE_CHECKING, Any

from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.version import __version__

if TYPE_CHECKING:
    from bert_jax.pretrained import Pretrained, load

__all__ = ["BertConfig", "InputError", "Pretrained", "ReadoutConfig", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # JAX and Flax take a second and 100 MB, which each of the processes that prepare text does without.
    if name in ("Pretrained", "load"):
        from bert_jax import pretrained

        return getattr(pretrained, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
