"""The regimes, one per file. To add one, add a file that defines `regime`."""

import importlib
import pkgutil

from bert_jax.study.regime import Regime

_MODULES = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
REGIMES: dict[str, Regime] = {module.regime.name: module.regime for module in _MODULES}
"""Name -> regime, in order of file names."""


def regime_title(name: str) -> str:
    """Title of a regime in tables and figures; the name itself for rows of a regime that no longer exists."""
    return REGIMES[name].title if name in REGIMES else name


def has_seeds(name: str) -> bool:
    """True if a regime involves randomness."""
    return name not in REGIMES or REGIMES[name].has_seeds


def is_trained(name: str) -> bool:
    """True for a regime that trains all weights."""
    return name in REGIMES and REGIMES[name].trains
