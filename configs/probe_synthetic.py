"""Linear probes on the synthetic suite, of the encoder that `make ablate` leaves.

Not run for the record yet. Expect [CLS] of layer 0 at chance: its input is the same in every text.

python -m experiments.probe synthetic
"""

from pathlib import Path

from bert_jax.tasks import synthetic
from experiments.settings.frozen import ProbeRun

NAME = "synthetic"
config = ProbeRun(
    suite="synthetic",
    tasks=tuple(synthetic.TASKS),
    out=Path("runs/probe-synthetic"),
    encoder="runs/synthetic/pretraining/model",
)
