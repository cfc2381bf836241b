"""The synthetic suite: a small artificial language with its corpus and tasks, generated from a seed.

`builder.SyntheticSuite` provides the tasks as a TFDS builder; the other modules do not need TFDS.
"""

from bert_jax.tasks.synthetic.story import documents
from bert_jax.tasks.synthetic.suite import ROWS, TASKS, read

__all__ = ["ROWS", "TASKS", "documents", "read"]
