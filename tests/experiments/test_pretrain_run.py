"""A pretraining run ends as if nothing had been, however often and by whatever it is interrupted."""

import os
import resource
import shutil
import signal
import socket
import sys
import types
import warnings

import processes
import pytest

import bert_jax
from bert_jax import config as architectures
from bert_jax.config import BertConfig
from bert_jax.corpus.prepare import prepare_documents
from bert_jax.files import LOCK, locked
from bert_jax.pretrain_config import VocabConfig
from bert_jax.tasks import synthetic
from bert_jax.train import loop
from bert_jax.train.log import read_log
from bert_jax.train.throughput import TIMES
from experiments import pretrain
from experiments.cli import named, run
from experiments.settings.pretraining import PretrainRun

STEPS = 500
SETTINGS = (
    "tiny --documents 40 --vocab.size 200 --pretrain.max-length 24 --pretrain.batch-size 8 "
    "--pretrain.optim.learning-rate 3e-3 --eval-examples 40"
).split()
SHORT = [*SETTINGS, *"--pretrain.steps 30 --log-every 5 --eval-every 15 --save-every 10".split()]
LONG = [*SETTINGS, *f"--pretrain.steps {STEPS} --log-every 7 --eval-every 200 --save-every 5".split()]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Make the preset tiny that of the child processes."""
    monkeypatch.setitem(architectures.PRESETS, "tiny", BertConfig(**processes.TINY))


def go(out, *arguments, settings=SHORT):
    run(pretrain.main, named(PretrainRun), [*settings, "--out", str(out), *arguments])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A short run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "a run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(architectures.PRESETS, "tiny", BertConfig(**processes.TINY))
        go(folder)
    return folder


def outcome(folder):
    """Bytes of the weights and all metrics but times: they must not depend on interruptions."""
    lines = [{name: value for name, value in line.items() if name not in TIMES} for line in read_log(folder)]
    return (folder / "model" / "model.safetensors").read_bytes(), lines


def test_a_run_folder_has_all_that_a_run_leaves(whole):
    assert {path.name for path in whole.iterdir()} == {
        "config.json", "corpus", "checkpoints", "metrics.jsonl", "tensorboard", "curves.png", "model",
    }  # fmt: skip
    lines = read_log(whole)
    train, held_out = ([line for line in lines if line["split"] == split] for split in ("train", "heldout"))
    assert [line["step"] for line in train] == [5, 10, 15, 20, 25, 30] and [x["step"] for x in held_out] == [15, 30]
    losses = {"mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy"}
    more = {"loss", "grad_norm", "learning_rate", "padding", "sequences_per_second", "tokens_per_second", "waiting"}
    assert set(train[1]) == losses | more | {"step", "split", "time"}
    assert set(held_out[0]) == losses | {"step", "split", "time"}
    assert train[-1]["mlm_loss"] < train[0]["mlm_loss"] and 0 < train[0]["padding"] < 0.5
    speed = train[1]["tokens_per_second"] / train[1]["sequences_per_second"]
    assert 12 < speed < 24, "real tokens of a sequence of 24"
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["10", "20", "30"]


def test_the_model_directory_is_loaded_as_any_other(whole):
    bert = bert_jax.load(whole / "model")
    assert bert.config.hidden_size == 16 and bert.checkpoint.pooler is not None and bert.checkpoint.nsp is not None
    assert bert.embed(["a sentence", "another one"]).shape == (2, 16)


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_a_finished_run_says_so_and_does_nothing(whole, capsys, monkeypatch):
    before = contents(whole)
    monkeypatch.setattr(pretrain, "_train", lambda *args: pytest.fail("a finished run was run again"))
    go(whole)
    said = capsys.readouterr().out
    assert said.startswith(f"{whole / 'model'} is complete") and said.endswith(f" --encoder '{whole / 'model'}'\n")
    assert contents(whole) == before


def _size(path):
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_state_before_the_run_ends(tmp_path, number):
    arguments = [*LONG, "--log-every", "1", "--save-every", "1000", "--out", str(tmp_path / "out")]
    process = processes.start(arguments, tmp_path)
    processes.wait_for(lambda: _size(tmp_path / "out" / "metrics.jsonl"), process)
    os.kill(process.pid, number)
    status, text = processes.finish(process, tmp_path)
    assert status == 128 + number, text
    assert f"stopped by {number.name}; the state is saved, the same command continues" in text
    last = read_log(tmp_path / "out")[-1]["step"]
    assert (tmp_path / "out" / "checkpoints" / str(last)).is_dir() and "Traceback" not in text


def interrupted(monkeypatch, out, step, *arguments):
    """Run until SIGTERM comes in the middle of a step, once: a second signal would end the test's own process."""
    real = pretrain._watcher

    def watcher(*parts):
        watch = real(*parts)

        def watching(number, metrics):
            watch(number, metrics)
            if number == step and parts[0].pretrain.seed == 0:
                os.kill(os.getpid(), signal.SIGTERM)

        return watching

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setattr(pretrain, "_watcher", watcher)
        go(out, *arguments)
    assert exit_.value.code == 143


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(whole, tmp_path, monkeypatch, capsys):
    for step in (7, 13):
        interrupted(monkeypatch, tmp_path, step)
    assert not (tmp_path / "model").exists()
    go(tmp_path)
    assert outcome(tmp_path) == outcome(whole)
    assert capsys.readouterr().err.count("going on from step ") == 2


def test_two_seeds_in_one_program_are_the_runs_of_each_by_itself(whole, tmp_path, monkeypatch):
    """They are interrupted, and the second one's last checkpoint is lost, so that it goes on from an earlier step."""
    interrupted(monkeypatch, tmp_path, 13, "--seeds", "2")
    kept = tmp_path / "seed1" / "checkpoints"
    shutil.rmtree(max(kept.iterdir(), key=lambda path: int(path.name)))
    go(tmp_path, "--seeds", "2")
    weights, lines = outcome(tmp_path / "seed0")
    _, wanted = outcome(whole)
    assert [line["step"] for line in lines] == [line["step"] for line in wanted]
    for line, other in zip(lines, wanted, strict=True):
        assert line["split"] == other["split"]
        numbers, expected = ({name: x for name, x in one.items() if name != "split"} for one in (line, other))
        assert numbers == pytest.approx(expected, rel=1e-4)
    one, other = (bert_jax.load(folder / "model").embed(["a sentence"]) for folder in (whole, tmp_path / "seed0"))
    assert abs(one - other).max() < 1e-4
    assert outcome(tmp_path / "seed1")[1] != lines and weights != outcome(tmp_path / "seed1")[0]


def test_a_pretraining_that_diverges_does_not_stop_the_others(tmp_path, monkeypatch):
    real = pretrain._watcher

    def watcher(run, *parts):
        watch = real(run, *parts)

        def watching(step, metrics):
            watch(step, metrics)
            if step == 7 and run.pretrain.seed == 1:
                raise loop.Diverged(step, "the loss is made up")

        return watching

    monkeypatch.setattr(pretrain, "_watcher", watcher)
    with pytest.raises(SystemExit):
        go(tmp_path, "--seeds", "2", "--pretrain.steps", "10")
    assert (tmp_path / "seed0" / "model").exists() and not (tmp_path / "seed1" / "model").exists()


def test_how_often_something_is_written_may_change(whole, tmp_path, monkeypatch):
    interrupted(monkeypatch, tmp_path, 7)
    go(tmp_path, "--save-every", "4", "--keep-last", "1", "--keep-every", "12", "--spike", "0")
    assert outcome(tmp_path) == outcome(whole)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["12", "24", "30"]


def _empty_manifests(checkpoint):
    for path in checkpoint.rglob("manifest.ocdbt"):
        path.write_bytes(b"")


DAMAGES = {
    "files": _empty_manifests,
    "arrays": lambda checkpoint: shutil.rmtree(checkpoint / "default"),
    "all": lambda checkpoint: [shutil.rmtree(checkpoint), checkpoint.mkdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_costs_steps_only(whole, tmp_path, damage):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "model")
    DAMAGES[damage](out / "checkpoints" / "30")
    with pytest.warns(UserWarning, match="checkpoint 30 in .* is damaged .* going on from step 20"):
        go(out)
    assert outcome(out) == outcome(whole)


@pytest.mark.parametrize("limit", [60, 4000, 100_000])
def test_a_full_disk_is_one_line_and_with_room_the_same_command_goes_on(whole, tmp_path, capsys, limit):
    """A limit on the size of files, which the operating system sets, stands for the size of the disk: the log meets it
    first, or the curves while a checkpoint meets it too, or the model."""
    (tmp_path / "run").mkdir()
    shutil.copytree(whole / "corpus", tmp_path / "run" / "corpus")
    shutil.copy(whole / "config.json", tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        error = fails(capsys, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in error and "ake room, then give the same command" in error and "--out" not in error
    assert "Exception" not in error and not (tmp_path / "run" / "model").exists()
    go(tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(whole)


def test_a_run_that_another_process_trains_is_refused_by_its_name(tmp_path, capsys):
    """And is free at once when that is killed."""
    out = tmp_path / "run"
    process = processes.start([*LONG, "--out", str(out)], tmp_path)
    processes.wait_for(lambda: _size(out / LOCK), process)
    error = fails(capsys, out, settings=LONG)
    assert f"{out} is in use by process {process.pid} on {socket.gethostname()}; wait for it, end it, or" in error
    assert process.is_alive()
    process.kill()
    process.join()
    with locked(out):
        pass


# Mistakes ---------------------------------------------------------------------------------------------------------


def fails(capsys, out, *arguments, settings=SHORT):
    """The error message of a user error, joined to one line."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setenv("COLUMNS", "300")
        go(out, *arguments, settings=settings)
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and "Traceback" not in error
    return " ".join(error.split())


@pytest.mark.parametrize("held_out", [True, False])
def test_an_update_that_spoils_the_weights_in_the_last_step_leaves_no_model(tmp_path, capsys, held_out):
    """The loss of that step is from before the update, whose decay of the weights overflows."""
    prepare_documents(synthetic.documents(40, 0), tmp_path / "corpus", VocabConfig(200), 0.05 if held_out else 0.0)
    rate = ["--pretrain.optim.learning-rate", "3e38", "--pretrain.optim.warmup", "0", "--pretrain.steps", "1"]
    rate += ["--pretrain.optim.weight-decay", "1e3"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*has no held-out documents")
        error = fails(capsys, tmp_path / "run", *rate, "--corpus", str(tmp_path / "corpus"))
    assert ("held-out text is nan after the update" if held_out else "is not finite") in error and "rate" in error
    assert not (tmp_path / "run" / "model").exists()


def test_settings_that_differ_from_the_checkpoints_are_listed(whole, capsys):
    before = contents(whole)
    error = fails(capsys, whole, "--pretrain.batch-size", "16", "--documents", "50", "--pretrain.optim.b2", "0.98")
    for part in ("pretrain.batch_size was 8 and is 16", "documents was 40 and is 50", "pretrain.optim.b2 was 0.999"):
        assert part in error
    assert str(whole) in error and "another --out" in error and "seed" not in error
    assert contents(whole) == before


def test_another_text_is_refused_and_the_same_one_elsewhere_is_not(whole, tmp_path, capsys):
    for number, name in [(40, "corpus"), (50, "other")]:
        prepare_documents(synthetic.documents(number, 0), tmp_path / name, VocabConfig(200), 0.05)
    out = tmp_path / "run"
    go(out, "--corpus", str(tmp_path / "corpus"))
    assert outcome(out) == outcome(whole), "the synthetic language is such a corpus"
    error = fails(capsys, out, "--corpus", str(tmp_path / "other"))
    assert "corpus.id was" in error and "corpus.train.documents was" in error and "another --out" in error
    (tmp_path / "corpus").rename(tmp_path / "moved")
    go(out, "--corpus", str(tmp_path / "moved"))
    error = fails(capsys, out, "--corpus", str(tmp_path / "corpus"))
    assert "is not a prepared corpus" in error and str(tmp_path / "corpus") in error


def test_a_corpus_without_held_out_text_is_trained_on_and_nothing_is_evaluated(tmp_path):
    prepare_documents(synthetic.documents(40, 0), tmp_path / "corpus", VocabConfig(200), 0.0)
    with pytest.warns(UserWarning, match="has no held-out documents, so nothing is evaluated; see --heldout"):
        go(tmp_path / "run", "--corpus", str(tmp_path / "corpus"))
    assert {line["split"] for line in read_log(tmp_path / "run")} == {"train"}
    assert (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("name", ["", "checkpoints", "metrics.jsonl", "tensorboard"])
def test_what_cannot_be_written_is_named_before_anything_is_trained(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(pretrain, "_train", lambda *args: pytest.fail("training began"))
    path = tmp_path / "out" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("") if name != "metrics.jsonl" else path.mkdir()
    error = fails(capsys, tmp_path / "out")
    assert f"cannot write to {tmp_path / 'out'}" in error or f"cannot read {path}" in error


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_last_good_checkpoint(tmp_path, capsys):
    out = tmp_path / "out"
    error = fails(capsys, out, "--pretrain.optim.learning-rate", "1e30", "--save-every", "1")
    kept = max(int(path.name) for path in (out / "checkpoints").iterdir())
    assert f"at step {kept + 1}; the last good checkpoint is {out / 'checkpoints' / str(kept)}." in error
    assert "is nan" in error or "is inf" in error or "times its running median" in error
    assert "lower --pretrain.optim.learning-rate" in error and not (out / "model").exists()


def test_a_loss_that_jumps_stops_the_run_unless_it_is_told_to_go_on(whole, tmp_path, capsys, monkeypatch):
    real = loop.Watch.__call__
    jump = {25: 100.0}
    monkeypatch.setattr(
        loop.Watch, "__call__", lambda self, step, values: real(self, step, values | {"loss": jump.get(step, 5.0)})
    )
    error = fails(capsys, tmp_path / "out")
    kept = tmp_path / "out" / "checkpoints" / "20"
    assert f"the loss is 100, 20.0 times its running median, at step 25; the last good checkpoint is {kept}." in error
    assert kept.is_dir() and not (tmp_path / "out" / "model").exists()
    go(tmp_path / "out", "--spike", "0")
    assert outcome(tmp_path / "out") == outcome(whole)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("--pretrain.batch-size 0", ["batch_size must be at least 1"]),
        ("--pretrain.batch-size 9 --pretrain.accumulate 2", ["--pretrain.batch-size 9", "2 pieces", "8 or 10"]),
        ("--pretrain.nsp-readout.pooling maen", ["'maen'", "Did you mean 'mean'?"]),
        ("--log-every 0", ["--log-every 0", "at least 1"]),
        ("--keep-last 0", ["--keep-last 0", "at least 1"]),
        ("--keep-every -1", ["--keep-every -1"]),
        ("--spike 0.5", ["--spike 0.5", "more than 1"]),
        ("--num-hosts 2", ["--num-hosts needs --coordinator", "--distributed auto"]),
        ("--coordinator here:1 --num-hosts 2 --host 2", ["--host 2", "0 to 1"]),
        ("--coordinator localhost --num-hosts 2", ["--coordinator localhost", "address:port"]),
        ("--coordinator here:1 --distributed auto", ["exclude each other"]),
        ("--vocab.size 100000", ["100000", "cannot be trained on this text", "--corpus DIR"]),
        ("--wandb-project x", ["--wandb-project", "pip install wandb"]),
        ("--corpus /no/such/corpus", ["/no/such/corpus"]),
        ("--corpus hmm://corpus", ["--corpus hmm://corpus", "Protocol not known: hmm", "gs://BUCKET/FOLDER"]),
        ("--mirror hmm://run", ["--mirror hmm://run", "Protocol not known: hmm", "gs://BUCKET/FOLDER"]),
        ("--corpus memory://no/such", ["--corpus memory://no/such is not a prepared corpus"]),
    ],
)
def test_a_mistake_on_the_command_line_is_explained(tmp_path, capsys, monkeypatch, arguments, parts):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(pretrain, "_train", lambda *args: pytest.fail("training began"))
    error = fails(capsys, tmp_path / "out", *arguments.split())
    assert all(part in error for part in parts), error


def test_every_seed_has_a_copy_of_its_own(tmp_path):
    config = PretrainRun(out=tmp_path, mirror="gs://bucket/run", seeds=2)
    assert [run.mirror for run in config.runs()] == ["gs://bucket/run/seed0", "gs://bucket/run/seed1"]
    assert [run.mirror for run in PretrainRun(out=tmp_path, seeds=2).runs()] == [None, None]


def test_weights_and_biases_gets_what_the_log_gets(tmp_path, monkeypatch):
    """A stand-in for the package, which is not a dependency."""
    calls, logged = [], []
    stand_in = types.SimpleNamespace(log=lambda values, step: logged.append((step, values)), finish=lambda: None)
    init = lambda **settings: calls.append(settings) or stand_in  # noqa: E731
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    go(tmp_path / "run", "--wandb-project", "mine")
    assert calls[0]["project"] == "mine" and calls[0]["id"] == "run" and calls[0]["resume"] == "allow"
    assert calls[0]["config"]["pretrain"]["batch_size"] == 8
    lines = read_log(tmp_path / "run")
    assert [step for step, _ in logged] == [line["step"] for line in lines]
    for (_, values), line in zip(logged, lines, strict=True):
        assert values[f"{line['split']}/mlm_loss"] == pytest.approx(line["mlm_loss"])
