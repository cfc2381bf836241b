"""The synthetic suite: a small generated language, its corpus and its tasks, all from a seed.

`builder.ControlledSuite` serves the tasks through TFDS; nothing else here needs it.
"""

from bert_jax.tasks.synthetic.story import documents
from bert_jax.tasks.synthetic.suite import ROWS, TASKS, read

__all__ = ["ROWS", "TASKS", "documents", "read"]
