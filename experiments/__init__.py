"""Scripts. `python -m experiments.NAME --help` explains each one."""

import sys

from bert_jax.parallel.memory import use_one_arena


def _announce() -> None:
    """Print the name of the script, because its imports take seconds; nothing for --help or outside a script."""
    # While `python -m` imports the package to find the script, sys.argv is not complete yet.
    if sys.argv[:1] == ["-m"] and not {"-h", "--help"} & set(sys.orig_argv):
        name = sys.orig_argv[sys.orig_argv.index("-m") + 1].rpartition(".")[2]
        print(f"{name}: loading libraries ...", file=sys.stderr, flush=True)


use_one_arena()  # before the imports of a script start threads
_announce()
