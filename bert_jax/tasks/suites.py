"""Registry of the task suites."""

from bert_jax.tasks import glue, senteval, sts, synthetic
from bert_jax.tasks.task import Task

SUITES: dict[str, dict[str, Task]] = {
    "synthetic": synthetic.TASKS,
    "glue": glue.TASKS,
    "senteval": senteval.TASKS,
    "sts": sts.SETS,
}
"""Suite name -> task name -> task."""
