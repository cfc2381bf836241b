"""Writer of a pretraining's run folder."""

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

from rich.progress import Progress

from bert_jax.checkpoints.card import pretraining_card
from bert_jax.data.objectives import all_measures, make_objectives
from bert_jax.files import RESTORE, plain, read_json, write_folder, write_whole, writing
from bert_jax.study.run import MODEL
from bert_jax.train.log import METRICS, Log, read_log
from bert_jax.train.loop import Metrics
from bert_jax.train.mirror import Contents, Mirror
from bert_jax.train.pretrain import Pretraining
from bert_jax.train.state_checkpoints import Checkpoints
from bert_jax.train.step import TrainState
from experiments.settings.pretraining import PretrainRun

CONFIG, CHECKPOINTS, CURVES = "config.json", "checkpoints", "curves.png"


def make_mirror(config: PretrainRun) -> Mirror:
    """The copy of a run at --mirror, from which what the run folder lacks has been brought.

    Raises:
        InputError: see `Mirror.bring`.
    """
    mirror = Mirror(
        config.out,
        str(config.mirror),
        Contents((CONFIG, METRICS, CURVES), CHECKPOINTS, MODEL),
        config.keep_last,
        config.keep_every,
        partial(print, file=sys.stderr, flush=True),
    )
    mirror.bring()
    return mirror


class Keeper:
    """Writer of the run folder on the first host: checkpoints, measurements, curves and a progress bar.

    Raises:
        InputError: the folder cannot be written, or none of its checkpoints can be read.
    """

    def __init__(self, config: PretrainRun, job: Pretraining, bar: Progress) -> None:
        self._config, self._job, self._bar, self._note = config, job, bar, ""
        with ExitStack() as stack:
            folder = config.out / CHECKPOINTS
            self._checkpoints = stack.enter_context(Checkpoints(folder, config.keep_last, config.keep_every))
            self._found = self._checkpoints.restore(job.state_shapes())
            step = 0 if self._found is None else int(self._found.step)
            if step:
                print(f"going on from step {step:,} of {config.pretrain.steps:,}", file=sys.stderr)
            self._log = stack.enter_context(Log(config.out, step, config.wandb_project, plain(config)))
            self._stack = stack.pop_all()
        self._task = bar.add_task(
            f"pretraining, seed {config.pretrain.seed}", total=config.pretrain.steps, completed=step, note="compiling"
        )

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
