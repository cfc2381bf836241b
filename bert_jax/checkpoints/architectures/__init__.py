"""The architectures that can be loaded, one per file. To add one, add a file that defines `schemas`."""

import importlib
import pkgutil

from bert_jax.checkpoints.schema import Schema
from bert_jax.config import BertConfig

_MODULES = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
SCHEMAS: dict[str, Schema] = {schema.model_type: schema for module in _MODULES for schema in module.schemas}
"""model_type -> names, in order of file names."""


def schema_of(config: BertConfig) -> Schema:
    """The names of the architecture that a config describes."""
    return next(schema for schema in SCHEMAS.values() if schema.config is type(config))
