"""The regimes, one in each file. A new one is a new file that defines `regime`."""

import importlib
import pkgutil

from bert_jax.study.regime import Regime

_MODULES = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
REGIMES: dict[str, Regime] = {module.regime.name: module.regime for module in _MODULES}
"""name -> regime, in the order of their files' names."""


def regime_title(name: str) -> str:
    """The name of a regime in tables and figures; of one that is not there any more, as rows have it."""
    return REGIMES[name].title if name in REGIMES else name


def has_seeds(name: str) -> bool:
    """True where something in a regime is random."""
    return name not in REGIMES or REGIMES[name].has_seeds


def is_trained(name: str) -> bool:
    """True for a regime that trains all weights."""
    return name in REGIMES and REGIMES[name].trains
