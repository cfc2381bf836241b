"""Five claims about [CLS] on real tasks and your own encoders: probes, attention, attention knockout, and pairs.

Fine-tuning is left out, as it takes hours on a CPU: add --parts finetune in the same folder.

python -m experiments.what_is_in_cls cls-real --encoders NAME=DIR_OR_HUB_ID --glue-dir DIR --senteval-dir DIR
"""

from pathlib import Path

from bert_jax.config import ProbeConfig
from experiments.settings.claims import ClsRun

NAME = "cls-real"
config = ClsRun(
    tasks=("glue/cola", "senteval/sst2", "senteval/trec"),
    out=Path("runs/what-is-in-cls/real"),
    parts=("layers", "attention", "knockout", "pairs"),
    train_rows=2000,
    probe=ProbeConfig(folds=5, max_length=64),
)
