"""The tables, one in each file, by name."""

import importlib
import pkgutil

from experiments.table import Table


def tables() -> dict[str, Table]:
    """All tables: name -> table, in the order of the names."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return {module.table.name: module.table for module in sorted(modules, key=lambda module: module.table.name)}
