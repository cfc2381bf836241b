"""Similarity without training on all seven sets, [CLS] and mean pooling of the last layer.

python -m experiments.sts sts --encoder DIR_OR_HUB_ID --sts-dir DIR
"""

from pathlib import Path

from bert_jax.data import sts
from experiments.settings import StsRun

NAME = "sts"
config = StsRun(sets=tuple(sts.SETS), out=Path("runs/sts"))
