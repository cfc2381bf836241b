"""Similarity without training on all seven sets, [CLS] and mean pooling of the last layer.

Expect of all-MiniLM-L6-v2 with the mean 72.37 80.60 75.59 85.39 78.99 82.03 77.58 in the order of the sets (MTEB), and
with [CLS] 75.06 76.46 71.51 75.30 on the first four and 73.50 on STS-B. About 20,000 texts are read once.

python -m experiments.sts sts --encoder DIR_OR_HUB_ID --sts-dir DIR
"""

from pathlib import Path

from bert_jax.tasks import sts
from experiments.settings.frozen import StsRun

NAME = "sts"
config = StsRun(sets=tuple(sts.SETS), out=Path("runs/sts"))
