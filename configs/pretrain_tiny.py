"""A tiny BERT on the embedded corpus, with next-sentence prediction read from [CLS] through BERT's pooler.

python -m experiments.pretrain tiny
"""

from pathlib import Path

from bert_jax.config import PretrainConfig
from experiments.settings import PretrainRun

NAME = "tiny"
config = PretrainRun(
    out=Path("runs/tiny"),
    pretrain=PretrainConfig(preset="tiny", vocab_size=320, max_length=64, steps=1500, batch_size=64),
)
