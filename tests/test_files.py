"""A run folder belongs to its settings and to one process, and a file in it is whole or not there."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import socket
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

from bert_jax.errors import InputError
from bert_jax.files import (
    LOCK,
    Lock,
    claim,
    hold,
    locked,
    parse_json,
    read_json,
    write_folder,
    write_whole,
    writing,
)
from bert_jax.study.store import ResultStore

SETTINGS = {"steps": 10, "optim": {"rate": 0.1, "b2": 0.999}, "names": ["a", "b"]}


def test_the_same_settings_may_come_again_in_any_order(tmp_path):
    path = tmp_path / "new" / "config.json"
    claim(path, SETTINGS)
    before = path.read_bytes()
    claim(path, dict(reversed(SETTINGS.items())))
    assert path.read_bytes() == before and json.loads(before) == SETTINGS


def test_every_difference_is_listed_and_nothing_is_written(tmp_path):
    path = tmp_path / "config.json"
    claim(path, SETTINGS)
    before = path.read_bytes()
    other = {"steps": 20, "optim": {"rate": 0.1, "b2": 0.98}, "names": ["a", "b"], "seed": 1}
    with pytest.raises(InputError) as error:
        claim(path, other)
    text = str(error.value)
    assert "steps was 10 and is 20; optim.b2 was 0.999 and is 0.98; seed was absent and is 1." in text
    assert str(tmp_path) in text and "another --out" in text and "rate" not in text
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_settings_that_cannot_be_read_are_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=rf"{tmp_path}/config\.json.*restore it, or use another --out"):
        claim(tmp_path / "config.json", SETTINGS)


# JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (b"{", dict, r"is not JSON \(Expecting"),
        (b'{"a": "\xff"}', dict, r"is not JSON \('utf-8' codec"),
        (b"[" * 100_000, list, r"is not JSON \(it is nested too deeply\)"),
        (b'[1, "two"]', dict, r'holds no JSON object, but \[1, "two"\]; mend it'),
        (b"null", list, r"holds no JSON array, but null; mend it"),
    ],
)
def test_json_that_cannot_be_used_is_one_line_that_names_the_file(tmp_path, content, kind, reason):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"{tmp_path}/a\.json {reason}.*") as error:
        read_json(tmp_path / "a.json", kind, "mend it")
    assert str(error.value).endswith("; mend it") and "\n" not in str(error.value) and len(str(error.value)) < 300


def test_json_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": "\N{SNOWMAN}"}).encode())
    assert read_json(tmp_path / "a.json") == {"a": "\N{SNOWMAN}"} == parse_json('{"a": "\\u2603"}', "here")
    with pytest.raises(InputError, match=rf"cannot read {tmp_path}/b\.json: No such file or directory$"):
        read_json(tmp_path / "b.json")


# Writing ----------------------------------------------------------------------------------------------------------


def test_half_a_surrogate_pair_is_refused_wherever_it_stands():
    for text in ('{"a": ["\\ud83d"]}', b'{"\\ud83d": 1}'):
        with pytest.raises(InputError, match=r"here holds \\ud83d, half of a surrogate pair; mend it"):
            parse_json(text, "here", remedy="mend it")
    assert parse_json('{"a": "\\ud83d\\ude00"}', "here") == {"a": "\U0001f600"}


def test_a_file_whose_writing_fails_is_what_it_was(tmp_path):
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"before"))

    def failing(file):
        file.write(b"half of it")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_whole(path, failing)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path], "on a full disk, half a file would take the room that is needed"


def test_a_folder_whose_writing_fails_is_what_it_was(tmp_path):
    folder = tmp_path / "new" / "folder"
    write_folder(folder, lambda new: (new / "a").write_text("before"))

    def failing(new):
        (new / "a").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=rf"cannot write to {folder}: No space left on device; make room"):
        write_folder(folder, failing, replace=True)
    with pytest.raises(InputError, match=rf"cannot write to {folder}: Directory not empty; use another --out"):
        write_folder(folder, lambda new: (new / "b").write_text("after"))
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]
    assert (folder / "a").read_text() == "before"
    write_folder(folder, lambda new: (new / "b").write_text("after"), replace=True)
    assert [path.name for path in folder.iterdir()] == ["b"] and [*folder.parent.iterdir()] == [folder]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; make room, then give the same"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded; make room, then give the same command"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "(os error 28); make room, then give the"),
        (OSError(errno.EIO, "writing: No space left on device"), "No space left on device; make room, then"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system; use another --out"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied; use another --out"),
    ],
)
def test_a_full_disk_needs_room_and_not_another_place(tmp_path, error, said):
    with pytest.raises(InputError) as caught, writing(tmp_path):
        raise error
    assert str(caught.value).startswith(f"cannot write to {tmp_path}: ") and said in str(caught.value)


def test_other_errors_are_left_as_they_are(tmp_path):
    for error in (ValueError("a bug"), InputError("No space left on device: said already")):
        with pytest.raises(type(error)) as caught, writing(tmp_path):
            raise error
        assert caught.value is error


def test_a_full_disk_is_known_in_the_words_of_a_library(tmp_path):
    """A limit on the size of files, which the operating system sets, stands for the size of the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(InputError, match=r"File too large \(os error 27\).*; make room"), writing(tmp_path):
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
        try:
            save_file({"a": np.zeros(10_000)}, tmp_path / "a.safetensors")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# Locks ------------------------------------------------------------------------------------------------------------


def _hold_and_tell(folder, connection):
    lock = hold(folder)
    connection.send(os.getpid())
    connection.recv()
    del lock


@pytest.fixture
def other(tmp_path):
    """Another process, which holds the lock on a folder."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold_and_tell, args=(tmp_path, theirs))
    process.start()
    assert ours.poll(60) and ours.recv() == process.pid
    yield process, ours
    process.kill()
    process.join()


def test_a_folder_that_another_process_writes_to_is_refused_with_its_id_and_host(tmp_path, other):
    process, connection = other
    named = f"{tmp_path} is in use by process {process.pid} on {socket.gethostname()}; wait for it, end it, or use"
    for take in (Lock, hold, lambda folder: ResultStore(folder, {})):
        with pytest.raises(InputError) as error:
            take(tmp_path)
        assert named in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    connection.send("enough")
    process.join(60)
    assert not any(tmp_path.iterdir()), "it ended, and nothing is left of its lock"
    ResultStore(tmp_path, {})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process_whatever_ends_that(tmp_path, other, number):
    process, _ = other
    os.kill(process.pid, number)
    process.join(60)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not any(tmp_path.iterdir())


def test_who_waits_gets_the_folder_when_it_is_free(tmp_path, other):
    _, connection = other
    connection.send("enough")
    with locked(tmp_path, wait=True), pytest.raises(InputError, match=f"by process {os.getpid()} on"), locked(tmp_path):
        pass


def test_the_parts_of_a_process_share_what_it_holds(tmp_path):
    first, second = hold(tmp_path), hold(tmp_path / ".." / tmp_path.name)
    assert first is second
    del first
    with pytest.raises(InputError, match="is in use by"):
        Lock(tmp_path)
    del second
    Lock(tmp_path).release()


def test_a_forked_process_leaves_the_lock_to_its_parent(tmp_path):
    lock = Lock(tmp_path)
    child = multiprocessing.get_context("fork").Process(target=lock.release)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of JAX, which this child does not use
        child.start()
    child.join()
    with pytest.raises(InputError, match=f"is in use by process {os.getpid()} on"):
        Lock(tmp_path)


def test_a_lock_that_a_full_disk_has_no_room_for_is_not_held(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Lock(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    Lock(tmp_path).release()


def test_where_there_are_no_locks_it_is_said(tmp_path, monkeypatch):
    """Some network file systems have none."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.warns(
        UserWarning, match=f"file system of {tmp_path} has no locks: make sure that one process at a time"
    ):
        Lock(tmp_path).release()
