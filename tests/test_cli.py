"""Command lines are parsed, and mistakes in them exit with status 2 and an explanation of one or two lines."""

import os
import subprocess
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from bert_jax.config import FinetuneConfig
from bert_jax.errors import InputError
from experiments.cli import command, named, parse, run

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Settings:
    """An experiment."""

    encoder: str | None = None
    """A Hugging Face directory."""
    glue_dir: Path | None = None
    """Folder of published TSV files."""
    tasks: tuple[str, ...] = ("cola",)
    """Tasks to run."""
    seeds: int = 5
    """Runs per readout."""
    finetune: FinetuneConfig = FinetuneConfig()

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"seeds must be at least 1, not {self.seeds}")


TWO = {"glue": ("Real tasks.", Settings(seeds=3)), "synthetic": ("The small language.", Settings())}
ONE = {"glue": TWO["glue"]}
EVERY = pytest.mark.parametrize(("configs", "name"), [(TWO, ["glue"]), (ONE, ["glue"]), (Settings, [])])


def failure(capsys, configs, *args, main=lambda config: None):
    """(status, what was printed on stderr)."""
    with pytest.raises(SystemExit) as exit_:
        run(main, configs, args)
    return exit_.value.code, " ".join(capsys.readouterr().err.split())


@EVERY
def test_main_gets_the_named_settings_with_the_overrides(configs, name):
    line = "--encoder DIR --glue-dir GLUE --tasks cola mrpc --finetune.optim.learning-rate 1e-4"
    got = []
    run(got.append, configs, [*name, *line.split()])
    (config,) = got
    assert (config.encoder, config.glue_dir, config.tasks) == ("DIR", Path("GLUE"), ("cola", "mrpc"))
    assert config.seeds == (3 if name else 5)
    assert config.finetune.optim.learning_rate == 1e-4 and config.finetune.epochs == 3


def test_the_command_can_be_given_again(monkeypatch):
    assert command() == "", "this process is pytest"
    spec = types.SimpleNamespace(name="experiments.sts")
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace(__spec__=spec))
    monkeypatch.setattr(sys, "argv", ["sts.py", "sts", "--sts-dir", "my data"])
    assert command() == "python -m experiments.sts sts --sts-dir 'my data'"


@EVERY
def test_a_mistyped_flag_gets_the_right_one(capsys, configs, name):
    status, error = failure(capsys, configs, *name, "--finetune.epoch", "2")
    assert status == 2 and "Perhaps you meant" in error and "--finetune.epochs INT" in error


@EVERY
@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--seeds", "0", "seeds must be at least 1, not 0"),
        ("--finetune.epochs", "0", "finetune: epochs must be at least 1, not 0"),
        ("--finetune.optim.learning-rate", "-1", "finetune.optim: learning_rate must be positive, not -1.0"),
        ("--seeds", "five", "--seeds: invalid literal for int() with base 10: 'five'\n--seeds INT Runs per readout."),
        ("--glue-dir", "", "Missing value for argument '--glue-dir'."),
        ("--finetune.optim.algorithm", "sgd", "invalid choice 'sgd' for argument '--finetune.optim.algorithm'."),
        ("--finetune.dropout", "x", "--finetune.dropout: no type matching"),
    ],
)
def test_a_bad_value_is_explained_in_two_lines_at_most(capsys, monkeypatch, configs, name, flag, value, message):
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit) as exit_:
        run(print, configs, [*name, flag, *([value] if value else [])])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.startswith(f"error: {message}") and error.count("\n") <= 2, error
    assert "Traceback" not in error and "tyro" not in error and "class" not in error
    assert os.environ["COLUMNS"] == "40"


def test_an_unknown_configuration_gets_the_right_one():
    with pytest.raises(InputError, match=r"unknown configuration 'gleu'\. Did you mean 'glue'"):
        parse(TWO, ["gleu", "--seeds", "1"])


@pytest.mark.parametrize(("configs", "args"), [(TWO, []), (ONE, []), (TWO, ["--seeds", "1"])])
def test_a_configuration_must_be_named(capsys, configs, args):
    status, error = failure(capsys, configs, *args)
    assert status == 2 and "glue" in error


def test_help_names_the_configurations_and_then_their_fields(capsys):
    for args, parts in [
        (["--help"], ["glue", "Real tasks.", "synthetic", "The small language."]),
        (["glue", "--help"], ["Real tasks.", "--tasks", "Tasks to run.", "(default: 3)", "--finetune.epochs"]),
    ]:
        with pytest.raises(SystemExit) as exit_:
            run(print, TWO, args)
        out = capsys.readouterr().out
        assert exit_.value.code == 0 and all(part in out for part in parts)


def test_an_input_error_is_one_line_and_status_2(capsys):
    def main(config):
        raise InputError("train.tsv, row 3: no label")

    assert failure(capsys, ONE, "glue", main=main) == (2, "error: train.tsv, row 3: no label")


@pytest.mark.parametrize("line", ["experiments.report --help", "experiments.reproduce list"])
def test_output_that_nobody_reads_ends_quietly(line):
    root = Path(__file__).parents[1]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", *line.split()],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode and done.stderr in ("", "reproduce: loading libraries ...\n")


def test_a_broken_pipe_of_another_kind_keeps_its_traceback():
    def main(config):
        raise BrokenPipeError("a worker has died")

    with pytest.raises(BrokenPipeError, match="a worker has died"):
        run(main, Settings, [])


def test_a_warning_of_a_command_is_one_line_without_its_source(capsys):
    where = UserWarning, "library.py", 3, "code()"
    run(lambda config: print(warnings.formatwarning("a row was left out", *where), end=""), Settings, [])
    assert capsys.readouterr().out == "warning: a row was left out\n"
    assert "library.py:3" in warnings.formatwarning("outside", *where)


def test_an_interruption_says_how_to_go_on(capsys):
    def main(config):
        raise KeyboardInterrupt

    status, error = failure(capsys, Settings, main=main)
    assert status == 130 and error == "interrupted; finished rows are kept, the same command goes on"


def test_an_error_of_ours_keeps_its_traceback():
    def main(config):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(main, Settings, [])


def test_report_of_a_folder_that_is_no_run_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.report", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "report: loading libraries ...",
        f"error: cannot read {tmp_path}/results.jsonl: No such file or directory; is this the folder of a run?",
    ]


def first_words(*arguments, line=1):
    """The modules that a script has imported when it writes its n-th line to standard error, and that line."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    imported = []
    with process:
        for text in process.stderr:
            if text.startswith("import time:"):
                imported.append(text.rpartition("|")[2].strip())
            elif (line := line - 1) == 0:
                process.kill()
                return imported, text.rstrip()
    return imported, ""


SCRIPTS = [path.stem for path in (ROOT / "experiments").glob("*.py") if '== "__main__"' in path.read_text()]


@pytest.mark.parametrize("name", SCRIPTS)
def test_something_is_said_before_the_libraries_are_imported(tmp_path, name):
    imported, said = first_words(f"experiments.{name}", "--out", str(tmp_path))
    assert said == f"{name}: loading libraries ..."
    assert not {"jax", "numpy", "scipy", "tyro", "matplotlib", "pandas"} & set(imported)


def test_a_script_that_only_reads_text_imports_no_jax(tmp_path):
    arguments = ("experiments.prepare_corpus", "--input", "/no/such/file", "--out", str(tmp_path))
    imported, said = first_words(*arguments, line=2)
    assert said.startswith("error: ") and not {"jax", "scipy", "matplotlib"} & set(imported)


def test_a_flag_that_another_command_has_is_answered_with_that_command(capsys):
    from experiments.settings.frozen import StsRun

    status, error = failure(capsys, named(StsRun), "sts", "--senteval-dir", "x")
    assert status == 2 and "; --senteval-dir is a flag of experiments.probe, " in error and error.count("\n") <= 2
    assert "experiments.sts" not in error.partition("is a flag of")[2].partition("\n")[0]
    assert "is a flag of" not in failure(capsys, named(StsRun), "sts", "--senteval-dirr", "x")[1]
