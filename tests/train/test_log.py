"""Every measurement is a line, a line that a resumed run repeats is there once, and TensorBoard reads the same."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from bert_jax.errors import InputError
from bert_jax.train.log import METRICS, TENSORBOARD, Log, read_log


def write(folder, *steps, after=0):
    with Log(folder, after) as log:
        for step in steps:
            log.write(step, "train", {"mlm_loss": step / 8, "padding": 0.5})


def test_lines_hold_what_was_measured(tmp_path):
    with Log(tmp_path) as log:
        log.write(10, "train", {"mlm_loss": 4.25, "learning_rate": 1e-4})
        log.write(10, "heldout", {"mlm_loss": 4.5})
        lines = read_log(tmp_path)  # they are in the file at once
    first, second = ({name: value for name, value in line.items() if name != "time"} for line in lines)
    assert first == {"step": 10, "split": "train", "mlm_loss": 4.25, "learning_rate": 1e-4}
    assert second == {"step": 10, "split": "heldout", "mlm_loss": 4.5}
    assert lines[0]["time"] == pytest.approx(lines[1]["time"], abs=60) and lines[0]["time"] > 1.6e9


def test_a_resumed_run_takes_back_what_was_measured_after_its_checkpoint(tmp_path):
    write(tmp_path, 10, 20, 30, 40)
    write(tmp_path, 30, 40, 50, after=25)
    assert [line["step"] for line in read_log(tmp_path)] == [10, 20, 30, 40, 50]


def test_a_run_that_begins_anew_keeps_nothing(tmp_path):
    write(tmp_path, 10, 20)
    write(tmp_path, 10)
    assert [line["step"] for line in read_log(tmp_path)] == [10]


def test_a_line_that_was_cut_off_is_left_out_and_written_over(tmp_path):
    write(tmp_path, 10, 20)
    with open(tmp_path / METRICS, "a") as file:
        file.write('{"step": 30, "split": "tr')
    assert [line["step"] for line in read_log(tmp_path)] == [10, 20]
    write(tmp_path, 30, after=20)
    assert [line["step"] for line in read_log(tmp_path)] == [10, 20, 30]


@pytest.mark.parametrize("bad", ["not json", '{"split": "train"}', "[1]", '{"step": "x", "split": "train"}'])
def test_a_damaged_line_is_named(tmp_path, bad):
    write(tmp_path, 10, 20)
    lines = (tmp_path / METRICS).read_text().splitlines()
    (tmp_path / METRICS).write_text("\n".join([lines[0], bad, lines[1]]) + "\n")
    with pytest.raises(InputError, match=rf"{tmp_path}/{METRICS}, line 2 is not a measurement"):
        Log(tmp_path, after=10)


def test_no_log_is_said(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.jsonl: No such file.*folder of a pretraining"):
        read_log(tmp_path)


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"cannot write to {tmp_path}/file"):
        Log(tmp_path / "file")


def events(folder):
    """Parse TensorBoard's records: a length, its checksum, an event and its checksum."""
    found = []
    for path in sorted((folder / TENSORBOARD).iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            found.append(Event.FromString(content[at + 12 : at + 12 + length]))
            at += 16 + length
    return found


def test_tensorboard_gets_the_same(tmp_path):
    write(tmp_path, 10, 20)
    values = {
        (event.step, value.tag): value.simple_value for event in events(tmp_path) for value in event.summary.value
    }
    assert values == {
        (10, "mlm_loss/train"): 1.25,
        (20, "mlm_loss/train"): 2.5,
        (10, "padding/train"): 0.5,
        (20, "padding/train"): 0.5,
    }


def test_tensorboard_is_told_from_where_a_resumed_run_counts(tmp_path):
    write(tmp_path, 10, 20)
    write(tmp_path, 20, after=15)
    started = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert started[-1] == 16


def test_neither_tensorflow_nor_wandb_is_imported(tmp_path):
    """In a fresh process, with warnings as errors."""
    code = (
        "import sys; from bert_jax.train.log import Log; from pathlib import Path\n"
        "with Log(Path(sys.argv[1])) as log: log.write(1, 'train', {'loss': 1.0})\n"
        "print([name for name in ('tensorflow', 'tensorboard', 'wandb') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stderr
    assert json.loads((tmp_path / METRICS).read_text())["loss"] == 1.0
