"""How much the tests of damage and interruptions do: a little among the others, more if a variable asks for it."""

import os


def amount(name: str, usual: int) -> int:
    """The number in the environment variable BERT_JAX_NAME, or the usual one."""
    return int(os.environ.get(f"BERT_JAX_{name}", usual))


SEED = amount("SEED", 0)
"""Seed of all that is drawn in these tests."""
