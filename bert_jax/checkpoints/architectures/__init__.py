"""The architectures that can be loaded, one per file. To add one, add a file that defines `layouts`."""

import importlib
import pkgutil

from bert_jax.checkpoints.layout import Layout
from bert_jax.config import BertConfig

_MODULES = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
LAYOUTS: dict[str, Layout] = {layout.model_type: layout for module in _MODULES for layout in module.layouts}
"""model_type -> names, in order of file names."""


def layout_of(config: BertConfig) -> Layout:
    """The names of the architecture that a config describes."""
    return next(layout for layout in LAYOUTS.values() if layout.config is type(config))
