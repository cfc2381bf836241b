"""Linear probes on the embedded suite, of the encoder that `make ablate` leaves.

Not run for the record yet. Expect [CLS] of layer 0 at chance: its input is the same in every text.

python -m experiments.probe embedded
"""

from pathlib import Path

from bert_jax.data import controlled
from experiments.settings import ProbeRun

NAME = "embedded"
config = ProbeRun(
    suite="embedded",
    tasks=tuple(controlled.TASKS),
    out=Path("runs/probe-embedded"),
    encoder="runs/embedded/pretraining/model",
)
