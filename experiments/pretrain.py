"""Pretrain a BERT and write it as a Hugging Face model directory; an interrupted run continues where it was.

With several seeds, as many runs train as one program, each in a run folder of its own.

With several hosts, each runs the same command and computes its own part of each batch; only the first host writes the
run folder.
"""

import itertools
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any

from bert_jax.corpus.copies import local_corpus
from bert_jax.corpus.prepare import prepare_documents
from bert_jax.corpus.shards import read_corpus, read_manifest
from bert_jax.errors import InputError
from bert_jax.files import claim, digest, locked, plain, writing
from bert_jax.parallel import devices
from bert_jax.remote import is_address
from bert_jax.study.progress import progress_bar
from bert_jax.study.run import MODEL
from bert_jax.tasks import synthetic
from bert_jax.tokenizers.tokenizer import load_tokenizer
from bert_jax.train.loop import Diverged, Metrics, Watch, require_finite
from bert_jax.train.mirror import Mirror
from bert_jax.train.prefetch import Prefetch
from bert_jax.train.pretrain import Pretraining, check
from bert_jax.train.pretrain_together import Pretrainings
from bert_jax.train.signals import Interruption
from bert_jax.train.step import TrainState
from bert_jax.train.throughput import Meter
from experiments.cli import named, run
from experiments.keeper import CONFIG, Keeper, make_mirror
from experiments.settings.pretraining import PretrainRun

CORPUS = "corpus"
"""Folder of the synthetic corpus in a run folder."""
SHARE_HELD_OUT = 0.05
"""Share of the synthetic documents that is held out for evaluation."""


def main(config: PretrainRun) -> None:
    """Pretrain, alone or together with other hosts."""
    if config.distributed == "auto":
        devices.join_hosts(None, None, None)
    elif config.coordinator is not None:
        devices.join_hosts(config.coordinator, config.num_hosts, config.host)
    devices.prepare_process()
    suite = "synthetic" if config.corpus is None else "glue"
    for model in pretrain_encoders(config.runs()):
        if devices.is_first_host():
            command = f"python -m experiments.ablate_pooling {suite} --encoder {shlex.quote(str(model))}"
            print(f"{model} is complete; try: {command}")


def pretrain_encoder(config: PretrainRun) -> Path:
    """Start or continue a run, unless it is finished, and return its model directory; see `pretrain_encoders`."""
    (model,) = pretrain_encoders([config])
    return model


def pretrain_encoders(configs: Sequence[PretrainRun]) -> list[Path]:
    """Start or continue runs that differ in their seed, unless they are finished already, and return their models.

    Raises:
        InputError: the settings or the text are invalid; a run folder belongs to another run, is in use by another
            process or cannot be written; or a training diverges, after the others have ended.
        SystemExit: SIGTERM or Ctrl-C was received; the states are saved.
    """
    with ExitStack() as stack:
        mirrors = []
        with devices.together():
            configs = [_with_local_corpus(config) for config in configs]
            for config in configs:
                check(config.pretrain)
                if devices.is_first_host():
                    if not _model(config).exists():
                        with writing(config.out):
                            stack.enter_context(locked(config.out))
                    _claim(config)
                    if config.mirror is not None:
                        mirrors.append(stack.enter_context(make_mirror(config)))
        left = [config for config in configs if not devices.first_host_says(_model(config).exists())]
        stopped_by = _pretrain(left, mirrors, stack) if left else None
    if stopped_by is not None:
        if devices.is_first_host():
            print(f"stopped by {stopped_by.name}; the state is saved, the same command continues", file=sys.stderr)
        sys.exit(128 + stopped_by)
    return [_model(config) for config in configs]


def _model(config: PretrainRun) -> Path:
    return config.out / MODEL


def _pretrain(configs: Sequence[PretrainRun], mirrors: Sequence[Mirror], stack: ExitStack) -> Signals | None:
    """Carry out runs, those that begin at the same step as one program; see `pretrain_encoders`."""
    first = devices.is_first_host()
    if first:
        print(
            f"pretraining in {', '.join(str(c.out) for c in configs)}: reading the corpus ...",
            file=sys.stderr,
            flush=True,
        )
    with devices.together():
        jobs = [_load(config) for config in configs]
        bar = stack.enter_context(progress_bar()) if first else None
        keepers = [
            None if bar is None else stack.enter_context(Keeper(*run, bar)) for run in zip(configs, jobs, strict=True)
        ]
    for mirror in mirrors:  # not before damaged checkpoints are set aside
        mirror.start()
    runs = [Run(*parts, _begin(*parts[1:])) for parts in zip(configs, jobs, keepers, strict=True)]
    runs.sort(key=lambda run: int(run.state.step))
    for _, alike in itertools.groupby(runs, key=lambda run: int(run.state.step)):
        group = list(alike)
        stopped_by = _train(group)
        if stopped_by is not None:
            return stopped_by
        with devices.together():
            for run in group:
                if run.keeper is not None and run.failed is None:
                    run.keeper.write_model(run.state, _model(run.config))
    if failed := [run.why_failed() for run in runs if run.failed is not None]:
        raise InputError("; ".join(failed) + ". Try a lower --pretrain.optim.learning-rate in another --out")
    return None


def _with_local_corpus(config: PretrainRun) -> PretrainRun:
    """The run with a copy of its corpus on this host, if that is at an address."""
    if not is_address(config.corpus):
        return config
    if devices.is_first_host():
        print(f"bringing the corpus {config.corpus} to this disk ...", file=sys.stderr, flush=True)
    return replace(config, corpus=local_corpus(str(config.corpus)))


def _claim(config: PretrainRun) -> None:
    """Raise if the run folder was started with other settings or text; logging and saving intervals do not matter."""
    settings: dict[str, Any] = {"pretrain": config.pretrain}
    if config.corpus is None:
        settings |= {"documents": config.documents, "vocab": config.vocab}
    else:
        manifest = read_manifest(Path(config.corpus))
        text = {"tokenizer": manifest["tokenizer"], "shards": [row["sha256"] for row in manifest["shards"]]}
        settings |= {"corpus": {"id": digest(text), **manifest["totals"]}}
    with writing(config.out):
        claim(config.out / CONFIG, plain(settings))


def _load(config: PretrainRun) -> Pretraining:
    corpus = Path(config.corpus) if config.corpus else _synthetic_corpus(config)
    held_out = None
    if read_manifest(corpus)["totals"]["heldout"]["documents"] > 1:
        held_out = read_corpus(corpus, "heldout")
    else:
        warnings.warn(
            f"{corpus} has no held-out documents, so nothing is evaluated; see --heldout of prepare_corpus",
            stacklevel=2,
        )
    train = read_corpus(corpus, "train")
    return Pretraining(config.pretrain, load_tokenizer(corpus), train, held_out, config.eval_examples)


def _synthetic_corpus(config: PretrainRun) -> Path:
    """Prepare the synthetic corpus, on the first host first, so that hosts on the same disk find it complete."""
    documents = synthetic.documents(config.documents, config.pretrain.seed)
    folder = config.out / CORPUS
    for turn in (True, False):
        with devices.together(), writing(config.out):
            if devices.is_first_host() is turn:
                try:
                    prepare_documents(documents, folder, config.vocab, SHARE_HELD_OUT)
                except InputError as error:
                    raise InputError(
                        f"{error}\nIt is the synthetic language; for your own text use --corpus DIR"
                    ) from None
    return folder


def _begin(job: Pretraining, keeper: Keeper | None) -> TrainState:
    """The checkpoint that the first host has found, or else the initial state, on every device of every host."""
    found = devices.from_first_host(None if keeper is None else keeper.take_found(), job.state_shapes())
    return job.initial_state() if found is None else devices.replicate(found)


@dataclass
class Run:
    """A run in progress: its parts on this host, its latest state, and how it diverged, if it did."""

    config: PretrainRun
    job: Pretraining
    keeper: Keeper | None
    state: TrainState
    failed: Diverged | None = None

    def see(self, watch: Callable[[int, Metrics], None], step: int, metrics: Metrics) -> None:
        """Check a step; after a divergence nothing more is looked at."""
        if self.failed is None:
            try:
                watch(step, metrics)
            except Diverged as error:
                self.failed = error

    def keep(self, step: int, state_of: Callable[[], TrainState], metrics: Metrics, stopped: bool) -> None:
        """Evaluate and write whatever is due at a step; nothing after a divergence.

        Args:
            step: number of the step, from 1.
            state_of: returns the state after it.
            metrics: of the step, with its rates.
            stopped: True if no step follows.
        """
        if self.failed is not None:
            return
        last = step == self.config.pretrain.steps
        if last or stopped or step % self.config.eval_every == 0 or step % self.config.save_every == 0:
            self.state = state_of()
        evaluated = self.job.evaluate(self.state.params) if step % self.config.eval_every == 0 or last else {}
        try:
            require_finite(step, evaluated)
        except Diverged as error:
            self.failed = error
            return
        if self.keeper is not None:
            measured = self.job.measured(step, metrics)
            self.keeper.keep(step, self.state, measured, evaluated, ends=last or stopped)

    def why_failed(self) -> str:
        """The divergence, and the last good checkpoint."""
        return f"{self.failed}; {'see the first host' if self.keeper is None else self.keeper.last_good()}"


def _train(runs: Sequence[Run]) -> Signals | None:
    """Take the remaining steps of runs that have taken the same number. Returns the signal that ended them early, if
    any."""
    config, phases, start = runs[0].config, runs[0].job.phases, int(runs[0].state.step)
    last, compiling = config.pretrain.steps, {start + 1, *(phase.first + 1 for phase in phases)}
    meters = [Meter(*devices.device_kind()) for _ in runs]
    watchers = [_watcher(run.config, run.job, meter, run.keeper) for run, meter in zip(runs, meters, strict=True)]
    latest: list[Metrics] = []

    def pause(step: int) -> bool:
        due = any(step % every == 0 for every in (config.log_every, config.eval_every, config.save_every))
        return interruption.reached(step) or due or step in compiling

    def seen(step: int, metrics: list[Metrics]) -> None:
        latest[:] = metrics
        for run, watch, values in zip(runs, watchers, metrics, strict=True):
            run.see(watch, step, values)
        if all(run.failed for run in runs):
            raise Diverged(step, "every run has diverged")

    together = Pretrainings([run.job for run in runs])
    try:
        with Interruption() as interruption, Prefetch(together.batches(start)) as batches:
            for step, state_of in together.fit([run.state for run in runs], batches, pause, seen):
                stopped_by = interruption.stopped_by if step < last else None
                reads = step % config.log_every == 0 or step in compiling
                rates = [meter.read(batches.waited) if reads else {} for meter in meters]
                with ExitStack() as stack, devices.together():
                    for meter in meters:
                        stack.enter_context(meter.stopped())
                    for number, run in enumerate(runs):
                        run.keep(
                            step,
                            partial(state_of, number),
                            latest[number] | ({} if step in compiling else rates[number]),
                            stopped_by is not None,
                        )
                if stopped_by is not None:
                    return stopped_by
    except Diverged as error:  # of the last run that was left
        for run in runs:
            run.failed = run.failed or error
    return None


def _watcher(
    config: PretrainRun, job: Pretraining, meter: Meter, keeper: Keeper | None
) -> Callable[[int, Metrics], None]:
    """Make the function that checks and counts every step of a run: divergence, throughput and progress."""
    watch = Watch(config.spike)

    def watcher(step: int, metrics: Metrics) -> None:
        watch(step, metrics)
        phase = job.phase(step)
        positions = phase.batch_size * phase.data.max_length
        meter.count(phase.batch_size, metrics["tokens"] * positions, phase.flops(job.bert))
        if keeper is not None:
            keeper.progress(step)

    return watcher


if __name__ == "__main__":
    run(main, named(PretrainRun))
