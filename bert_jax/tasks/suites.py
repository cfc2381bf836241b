"""Registry of the task suites, and tasks by name or by the path of one's own."""

from pathlib import Path

from bert_jax.errors import InputError, unknown
from bert_jax.tasks import glue, own, senteval, sts, synthetic
from bert_jax.tasks.task import Task

SUITES: dict[str, dict[str, Task]] = {
    "synthetic": synthetic.TASKS,
    "glue": glue.TASKS,
    "senteval": senteval.TASKS,
    "sts": sts.SETS,
}
"""Suite name -> task name -> task."""


def check_name(spec: str, *suites: str) -> None:
    """Raise if a string is neither the name of a task in the given suites nor a path.

    Raises:
        InputError: it is neither.
    """
    names = [name for suite in suites for name in SUITES[suite]]
    if spec not in names and not own.is_own(spec):
        raise InputError(f"{unknown('task', spec, names)}; or the path of one of your own: NAME.toml, or a folder")


def find_task(spec: str, *suites: str) -> Task:
    """Find a task by its name in the given suites, or load one's own by the path of its description or folder.

    Raises:
        InputError: there is no such task, or it is one's own and invalid; see `bert_jax.tasks.own`.
    """
    check_name(spec, *suites)
    known = next((SUITES[suite][spec] for suite in suites if spec in SUITES[suite]), None)
    if known is not None:
        return known
    task = own.load_task(Path(spec))
    taken = next((suite for suite, tasks in SUITES.items() if task.name in tasks), None)
    if taken is not None:
        raise InputError(f"{spec}: {task.name} is a task of {taken}; call it otherwise: name = ...")
    return task
