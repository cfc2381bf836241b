"""Named runs, one per file: a docstring with the command, the expected result and time, and a `config`."""

import importlib
import pkgutil
from typing import TypeVar

Config = TypeVar("Config")


def named(kind: type[Config]) -> dict[str, tuple[str, Config]]:
    """All named runs of one kind: name -> (docstring, config)."""
    modules = [importlib.import_module(f"configs.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return {
        module.NAME: ((module.__doc__ or "").strip(), module.config)
        for module in modules
        if isinstance(module.config, kind)
    }
