"""Settings of `experiments.pretrain`."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bert_jax.errors import InputError
from bert_jax.pretrain_config import PretrainConfig, VocabConfig
from experiments.settings.shared import SyntheticEncoder


@dataclass(frozen=True, kw_only=True)
class PretrainRun(SyntheticEncoder):
    """Pretrain a BERT; the same command continues an interrupted run."""

    out: Path
    """Run folder: settings, checkpoints, metrics.jsonl, tensorboard, curves.png, and at the end model."""
    corpus: str | Path | None = None
    """Folder written by prepare_corpus, or its address (gs://, s3://), from which every host brings it to its own disk.
    By default, text of the synthetic language is prepared in the run folder."""
    documents: int = 2000
    """Number of documents of the synthetic language."""
    vocab: VocabConfig = VocabConfig()
    """Vocabulary of the synthetic language; a prepared corpus has its own."""
    pretrain: PretrainConfig = PretrainConfig()
    seeds: int = 1
    """Number of pretrainings to compute as one program, with the seeds from pretrain.seed on; several models must fit
    into memory. Their run folders are then seed0, seed1, ... below --out, each like that of a single run."""
    log_every: int = 10
    """Steps between lines of metrics."""
    eval_every: int = 500
    """Steps between evaluations on held-out text; the last step is always evaluated."""
    eval_examples: int = 2000
    """Largest number of held-out examples to evaluate, spread over the text."""
    save_every: int = 500
    """Steps between checkpoints; one is always saved at the end, and on SIGTERM or Ctrl-C."""
    keep_last: int = 3
    """Number of checkpoints to keep, the newest ones."""
    keep_every: int = 0
    """Also keep checkpoints whose step is a multiple of this; 0 for none."""
    mirror: str | None = None
    """Also copy the run to this address (gs://BUCKET/FOLDER, s3://...) as it goes; with an empty --out, the same
    command continues from there. Needs pip install 'bert_jax[mirror]'."""
    spike: float = 3.0
    """Stop if the loss is more than this many times its running median; 0 to continue at any finite loss."""
    wandb_project: str | None = None
    """Also log to this project of Weights & Biases; needs pip install wandb."""
    distributed: Literal["no", "auto"] = "no"
    """auto: find the other hosts, on TPU pods and under SLURM or Open MPI."""
    coordinator: str | None = None
    """address:port of host 0, the same on every host, if --distributed auto does not find the hosts."""
    num_hosts: int = 1
    """Number of processes that run this command together."""
    host: int = 0
    """Index of this process, from 0."""

    def __post_init__(self) -> None:
        for field in (
            "documents",
            "seeds",
            "log_every",
            "eval_every",
            "eval_examples",
            "save_every",
            "keep_last",
            "num_hosts",
        ):
            if getattr(self, field) < 1:
                flag = field.replace("_", "-")
                raise InputError(f"--{flag} {getattr(self, field)}: it must be at least 1")
        if self.keep_every < 0:
            raise InputError(f"--keep-every {self.keep_every}: it must be positive, or 0 for none")
        if self.spike and not 1 < self.spike < math.inf:
            raise InputError(f"--spike {self.spike}: it must be more than 1, or 0 to continue at any finite loss")
        self._check_hosts()

    def runs(self) -> "list[PretrainRun]":
        """The run of each seed, with a folder of its own."""
        if self.seeds == 1:
            return [self]
        first = self.pretrain.seed
        return [
            replace(
                self,
                seeds=1,
                out=self.out / f"seed{seed}",
                mirror=self.mirror and f"{self.mirror}/seed{seed}",
                pretrain=replace(self.pretrain, seed=seed),
            )
            for seed in range(first, first + self.seeds)
        ]

    def _check_hosts(self) -> None:
        if self.seeds > 1 and (self.num_hosts > 1 or self.distributed == "auto"):
            raise InputError("--seeds trains on one host; give one seed to several hosts")
        if not 0 <= self.host < self.num_hosts:
            raise InputError(f"--host {self.host}: with --num-hosts {self.num_hosts} it is 0 to {self.num_hosts - 1}")
        if self.num_hosts > 1 and self.coordinator is None:
            raise InputError("--num-hosts needs --coordinator, the address:port of host 0 (or use --distributed auto)")
        if self.coordinator is not None:
            if self.distributed == "auto":
                raise InputError("--coordinator and --distributed auto exclude each other")
            address, _, port = self.coordinator.rpartition(":")
            if not address or not port.isdecimal():
                raise InputError(f"--coordinator {self.coordinator}: it must be address:port, such as 10.0.0.1:8476")
