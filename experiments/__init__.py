"""Scripts. `python -m experiments.NAME --help` explains each one."""

import sys

from bert_jax.parallel.memory import use_one_arena

_QUICK = ("prepare_corpus", "report")
"""Scripts that do without JAX and begin at once."""


def _announce() -> None:
    """Say which script begins, because its imports take seconds; nothing for --help, or where no script is run."""
    # While `python -m` looks for its module, and imports the package that has it, argv is not whole yet.
    if sys.argv[:1] == ["-m"] and not {"-h", "--help"} & set(sys.orig_argv):
        name = sys.orig_argv[sys.orig_argv.index("-m") + 1].rpartition(".")[2]
        if name not in _QUICK:
            print(f"{name}: loading JAX and other libraries ...", file=sys.stderr, flush=True)


use_one_arena()  # before the imports of a script start threads
_announce()
