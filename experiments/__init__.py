"""Scripts. `python -m experiments.NAME --help` explains each one."""

from bert_jax.parallel.memory import use_one_arena

use_one_arena()  # before the imports of a script start threads
