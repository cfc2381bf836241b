"""Pretrain a BERT and write it as a Hugging Face model directory; an interrupted run continues where it was.

With several hosts, each runs the same command and computes its own part of each batch; only the first host writes the
run folder.
"""

import shlex
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Any

from bert_jax.checkpoints.card import pretraining_card
from bert_jax.corpus.prepare import prepare_documents
from bert_jax.corpus.shards import read_corpus, read_manifest
from bert_jax.data.objectives import all_measures, make_objectives
from bert_jax.errors import InputError
from bert_jax.files import RESTORE, claim, digest, locked, plain, read_json, write_folder, write_whole, writing
from bert_jax.parallel import devices
from bert_jax.study.progress import progress_bar
from bert_jax.study.run import MODEL
from bert_jax.tasks import synthetic
from bert_jax.tokenizers.tokenizer import load_tokenizer
from bert_jax.train.log import Log, read_log
from bert_jax.train.loop import Diverged, Metrics, Watch, require_finite
from bert_jax.train.prefetch import Prefetch
from bert_jax.train.pretrain import Pretraining, check
from bert_jax.train.signals import Interruption
from bert_jax.train.state_checkpoints import Checkpoints
from bert_jax.train.step import TrainState
from bert_jax.train.throughput import Meter
from experiments.cli import named, run
from experiments.settings.pretraining import PretrainRun

CONFIG, CORPUS, CHECKPOINTS, CURVES = "config.json", "corpus", "checkpoints", "curves.png"
HELD_OUT = 0.05
"""Share of the synthetic documents that is held out for evaluation."""


def main(config: PretrainRun) -> None:
    """Pretrain, alone or together with other hosts."""
    if config.distributed == "auto":
        devices.join_hosts(None, None, None)
    elif config.coordinator is not None:
        devices.join_hosts(config.coordinator, config.num_hosts, config.host)
    devices.prepare_process()
    model = pretrain_encoder(config)
    if devices.is_first_host():
        command = f"python -m experiments.ablate_pooling synthetic --encoder {shlex.quote(str(model))}"
        print(f"{model} is complete; try: {command}")


def pretrain_encoder(config: PretrainRun) -> Path:
    """Start or continue a run, unless it is finished already, and return its model directory.

    Raises:
        InputError: the settings or the text are invalid; the run folder belongs to another run, is in use by another
            process or cannot be written; or the training diverges.
        SystemExit: SIGTERM or Ctrl-C was received; the state is saved.
    """
    model, first = config.out / MODEL, devices.is_first_host()
    with ExitStack() as stack:
        with devices.together():
            check(config.pretrain)
            if first:
                if not model.exists():
                    with writing(config.out):
                        stack.enter_context(locked(config.out))
                _claim(config)
        if devices.first_host_says(model.exists()):
            return model
        if first:
            print(f"pretraining in {config.out}: reading the corpus ...", file=sys.stderr, flush=True)
        with devices.together():
            job = _load(config)
            keeper = stack.enter_context(Keeper(config, job)) if first else None
        state, stopped_by = _train(config, job, _begin(job, keeper), keeper)
        with devices.together():
            if keeper is not None and stopped_by is None:
                keeper.write_model(state, model)
    if stopped_by is not None:
        if first:
            print(f"stopped by {stopped_by.name}; the state is saved, the same command goes on", file=sys.stderr)
        sys.exit(128 + stopped_by)
    return model


def _claim(config: PretrainRun) -> None:
    """Raise if the run folder was started with other settings or text; logging and saving intervals do not matter."""
    settings: dict[str, Any] = {"pretrain": config.pretrain}
    if config.corpus is None:
        settings |= {"documents": config.documents, "vocab": config.vocab}
    else:
        manifest = read_manifest(config.corpus)
        text = {"tokenizer": manifest["tokenizer"], "shards": [row["sha256"] for row in manifest["shards"]]}
        settings |= {"corpus": {"id": digest(text), **manifest["totals"]}}
    with writing(config.out):
        claim(config.out / CONFIG, plain(settings))


def _load(config: PretrainRun) -> Pretraining:
    corpus = config.corpus or _synthetic_corpus(config)
    held_out = None
    if read_manifest(corpus)["totals"]["heldout"]["documents"] > 1:
        held_out = read_corpus(corpus, "heldout")
    else:
        warnings.warn(f"{corpus} holds no documents back, so nothing is evaluated; see --heldout", stacklevel=2)
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
                    prepare_documents(documents, folder, config.vocab, HELD_OUT)
                except InputError as error:
                    raise InputError(
                        f"{error}\nIt is the synthetic language; for your own text use --corpus DIR"
                    ) from None
    return folder


def _begin(job: Pretraining, keeper: "Keeper | None") -> TrainState:
    """The checkpoint that the first host has found, or else the initial state, on every device of every host."""
    found = devices.from_first_host(None if keeper is None else keeper.take_found(), job.state_shapes())
    return job.initial_state() if found is None else devices.replicate(found)


def _train(
    config: PretrainRun, job: Pretraining, begin: TrainState, keeper: "Keeper | None"
) -> tuple[TrainState, Signals | None]:
    """Take the remaining steps. Returns the last state, and the signal that ended the run early, if any."""
    state, start, last = begin, int(begin.step), config.pretrain.steps
    compiling = {start + 1, *(phase.first + 1 for phase in job.phases)}
    meter = Meter(*devices.device_kind())

    def pause(step: int) -> bool:
        due = any(step % every == 0 for every in (config.log_every, config.eval_every, config.save_every))
        return interruption.reached(step) or due or step in compiling

    try:
        with Interruption() as interruption, Prefetch(job.batches(start)) as batches:
            for step, state, metrics in job.fit(begin, batches, pause, _watcher(config, job, meter, keeper)):
                rates = meter.read(batches.waited) if step % config.log_every == 0 or step in compiling else {}
                measured = job.measured(step, metrics) | ({} if step in compiling else rates)
                stopped_by = interruption.stopped_by if step < last else None
                with meter.stopped(), devices.together():
                    evaluated = job.evaluate(state.params) if step % config.eval_every == 0 or step == last else {}
                    require_finite(step, evaluated)
                    if keeper is not None:
                        keeper.keep(step, state, measured, evaluated, ends=step == last or stopped_by is not None)
                if stopped_by is not None:
                    return state, stopped_by
    except Diverged as error:
        saved = "see the first host" if keeper is None else keeper.last_good()
        raise InputError(f"{error}; {saved}. Try a lower --pretrain.optim.learning-rate in another --out") from None
    return state, None


def _watcher(
    config: PretrainRun, job: Pretraining, meter: Meter, keeper: "Keeper | None"
) -> Callable[[int, Metrics], None]:
    """Make the function that checks and counts every step: divergence, throughput and progress."""
    watch = Watch(config.spike)

    def watcher(step: int, metrics: Metrics) -> None:
        watch(step, metrics)
        phase = job.phase(step)
        positions = phase.batch_size * phase.data.max_length
        meter.count(phase.batch_size, metrics["tokens"] * positions, phase.flops(job.bert))
        if keeper is not None:
            keeper.progress(step)

    return watcher


class Keeper:
    """Writer of the run folder on the first host: checkpoints, measurements, curves and a progress bar.

    Raises:
        InputError: the folder cannot be written, or none of its checkpoints can be read.
    """

    def __init__(self, config: PretrainRun, job: Pretraining) -> None:
        self._config, self._job, self._note = config, job, ""
        with ExitStack() as stack:
            folder = config.out / CHECKPOINTS
            self._checkpoints = stack.enter_context(Checkpoints(folder, config.keep_last, config.keep_every))
            self._found = self._checkpoints.restore(job.state_shapes())
            step = 0 if self._found is None else int(self._found.step)
            self._log = stack.enter_context(Log(config.out, step, config.wandb_project, plain(config)))
            self._bar = stack.enter_context(progress_bar())
            self._stack = stack.pop_all()
        self._task = self._bar.add_task("pretraining", total=config.pretrain.steps, completed=step, note="compiling")

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, where)

    def take_found(self) -> TrainState | None:
        """Return the restored state as NumPy arrays, or None, and drop the reference to it, because it is large."""
        found, self._found = self._found, None
        return found

    def progress(self, step: int) -> None:
        """Advance the progress bar to a finished step."""
        self._bar.update(self._task, completed=step, note=self._note)

    def keep(self, step: int, state: TrainState, measured: Metrics, evaluated: Metrics, ends: bool) -> None:
        """Write whatever is due at a step: first the measurements, then the checkpoint to continue from.

        Args:
            step: number of the step, from 1.
            state: the state after it.
            measured: metrics of its batch.
            evaluated: metrics of held-out text; empty if the step was not evaluated.
            ends: True if no step follows; the state is then on disk when this returns.

        Raises:
            InputError: the folder cannot be written.
        """
        if step % self._config.log_every == 0:
            self._log.write(step, "train", measured)
            self._note = _summary(measured).partition(",")[0]
            self._bar.update(self._task, note=self._note)
        if evaluated:
            self._log.write(step, "heldout", evaluated)
            if step < self._config.pretrain.steps:
                self._draw()
            self._bar.console.print(f"step {step}: {_summary(measured)}; held out: {_summary(evaluated)}")
        if ends or step % self._config.save_every == 0:
            self._checkpoints.save(step, state)
        if ends:
            self._checkpoints.wait()

    def last_good(self) -> str:
        """Describe the last good checkpoint."""
        step = self._checkpoints.wait()
        folder = self._config.out / CHECKPOINTS
        return f"the last good checkpoint is {folder / str(step)}" if step else f"{folder} has no good checkpoint yet"

    def write_model(self, state: TrainState, model: Path) -> None:
        """Write the final curves and the model directory, which appears only when complete."""
        self._draw()
        settings = read_json(self._config.out / CONFIG, remedy=RESTORE)
        log, (tokens, _) = read_log(self._config.out), make_objectives(self._config.pretrain.objective)
        card = pretraining_card(self._config.out.name, self._job.bert, settings, log, tokens.card, tokens.use)
        write_folder(model, lambda folder: self._job.pretrained(state.params).save(folder, card))

    def _draw(self) -> None:
        from bert_jax.analysis.curves import draw_curves  # slow to import, and not needed to start a run

        figure = draw_curves(read_log(self._config.out))
        with writing(self._config.out):
            write_whole(self._config.out / CURVES, lambda file: figure.savefig(file, format="png", dpi=150))


def _summary(values: Metrics) -> str:
    """The most important metrics in a line.

    >>> _summary({"mlm_loss": 2.345, "mlm_accuracy": 0.5, "nsp_accuracy": 0.75})
    'MLM loss 2.35, accuracy 50.0%, NSP accuracy 75.0%'
    """
    shown = {name: measure.brief for name, measure in all_measures().items() if measure.brief} | {
        "sequences_per_second": "{:.0f} sequences/s",
        "mfu": "MFU {:.1%}",
        "waiting": "waiting for data {:.1%}",
    }
    return ", ".join(text.format(values[name]) for name, text in shown.items() if name in values)


if __name__ == "__main__":
    run(main, named(PretrainRun))
