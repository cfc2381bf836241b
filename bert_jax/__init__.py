"""bert_jax: BERT in JAX, with the readout of its sentence vectors as the thing under test."""

from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.pretrained import Pretrained, load

__all__ = ["BertConfig", "InputError", "Pretrained", "ReadoutConfig", "load"]
__version__ = "0.1.0"
