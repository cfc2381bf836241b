"""BERT-base as it was made (arXiv 1810.04805, appendix A.2): a million steps of 256, 90% at 128 tokens and 10% at 512.

For one large GPU, or the hosts of a TPU pod or a cluster with `--distributed auto`. Not run for the record yet.
Attention is faster with --pretrain.attention-dropout 0, which lets it be one fused kernel.

python -m experiments.pretrain base --corpus DIR
"""

from pathlib import Path

from bert_jax.config import ComputeConfig, OptimConfig
from bert_jax.pretrain_config import LongPhase, PretrainConfig
from experiments.settings.pretraining import PretrainRun

NAME = "base"
config = PretrainRun(
    out=Path("runs/base"),
    pretrain=PretrainConfig(
        preset="base",
        max_length=128,
        steps=1_000_000,
        batch_size=256,
        long=LongPhase(steps=100_000, max_length=512, batch_size=256),
        compute=ComputeConfig(dtype="bfloat16"),
        optim=OptimConfig(learning_rate=1e-4, warmup=0.01),
    ),
    log_every=100,
    eval_every=10_000,
    eval_examples=10_000,
    save_every=5_000,
    keep_every=100_000,
)
