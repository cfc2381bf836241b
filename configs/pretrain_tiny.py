"""A tiny BERT on the synthetic corpus, with next-sentence prediction read from [CLS] through BERT's pooler.

python -m experiments.pretrain tiny
"""

from pathlib import Path

from bert_jax.pretrain_config import PretrainConfig, VocabConfig
from experiments.settings.pretraining import PretrainRun

NAME = "tiny"
config = PretrainRun(
    out=Path("runs/tiny"),
    vocab=VocabConfig(size=320),
    pretrain=PretrainConfig(preset="tiny", max_length=64, steps=1500, batch_size=64),
)
