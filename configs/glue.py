"""[CLS] against mean pooling on GLUE, with BERT's fine-tuning recipe (arXiv 1810.04805, appendix A.3).

Takes hours with bert-base on CPUs: choose tasks. Not run for the record yet; the paper's Table 5 has
MRPC 86.7 and SST-2 92.7.

python -m experiments.ablate_pooling glue --encoder bert-base-uncased --out runs/bert-base
"""

from pathlib import Path

from bert_jax.config import FinetuneConfig, OptimConfig
from experiments.settings.ablation import Ablation

NAME = "glue"
config = Ablation(
    suite="glue",
    tasks=("cola", "mrpc", "stsb", "rte"),
    out=Path("runs/glue"),
    finetune=FinetuneConfig(epochs=3, batch_size=32, optim=OptimConfig(learning_rate=5e-5)),
)
