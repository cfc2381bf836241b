"""Published tables, one per file."""

import importlib
import pkgutil

from experiments.tables.table import Table


def tables() -> dict[str, Table]:
    """All tables: name -> table, sorted by name."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name != "table"]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.table.name: module.table for module in sorted(modules, key=lambda module: module.table.name)}
