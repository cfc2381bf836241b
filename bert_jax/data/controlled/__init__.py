"""The embedded suite: a small generated language, its corpus and its tasks, all from a seed.

`builder.ControlledSuite` serves the tasks through TFDS; nothing else here needs it.
"""

from bert_jax.data.controlled.story import documents
from bert_jax.data.controlled.suite import ROWS, TASKS, read

__all__ = ["ROWS", "TASKS", "documents", "read"]
