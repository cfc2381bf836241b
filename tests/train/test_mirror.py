"""A copy of a run is complete or does not count; the newest complete one is gone on from; a failure is said."""

import json
import time
import uuid

import pytest

from bert_jax.errors import InputError
from bert_jax.remote import Remote, RemoteError
from bert_jax.train import mirror as mirrors
from bert_jax.train.mirror import LIST, Contents, Mirror

CONTENTS = Contents(("config.json", "log"), "checkpoints", "model")


@pytest.fixture
def address():
    return f"memory://{uuid.uuid4()}/run"


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(mirrors, "_LOOK", 0.01)
    monkeypatch.setattr(mirrors, "_LAST_PAUSES", (0.0, 0.0))


def machine(folder, settings=1):
    """A run folder with nothing but its settings."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"settings": settings}))
    return folder


def mirror(folder, address, keep_last=2, keep_every=0, report=lambda text: pytest.fail(text)):
    made = Mirror(folder, address, CONTENTS, keep_last, keep_every, report)
    made.bring()
    return made


def step(folder, number):
    """Take the run to a step."""
    (folder / "log").write_text(f"up to {number}")
    made = folder / "checkpoints" / str(number)
    (made / "deep").mkdir(parents=True)
    (made / "deep" / "array").write_bytes(bytes([number]) * 1000)
    (made / "empty").touch()


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def complete(address):
    return {name.removesuffix(LIST) for name in Remote(address, "--mirror").names() if name.endswith(LIST)}


def copied(folder, address, *steps, **settings):
    for number in steps:
        with mirror(folder, address, **settings):
            step(folder, number)


def test_an_empty_machine_gets_what_there_is(tmp_path, address):
    one, two = machine(tmp_path / "one"), machine(tmp_path / "two")
    copied(one, address, 5, 10)
    mirror(two, address)
    assert contents(two) == {name: content for name, content in contents(one).items() if "/5/" not in name}
    (one / "model").mkdir()
    (one / "model" / "weights").write_bytes(b"done")
    with mirror(one, address):
        pass
    three = machine(tmp_path / "three")
    mirror(three, address)
    assert (three / "model" / "weights").read_bytes() == b"done" and not (three / "checkpoints").exists()


def test_copies_are_made_while_the_run_goes_on(tmp_path, address):
    folder = machine(tmp_path / "one")
    with mirror(folder, address) as made:
        made.start()
        for number in (5, 10):
            step(folder, number)
            end = time.monotonic() + 20
            while f"checkpoints/{number}" not in complete(address):
                assert time.monotonic() < end
                time.sleep(0.01)
            assert Remote(address, "--mirror").read("log") == f"up to {number}".encode()


def test_the_newest_are_kept_and_those_that_are_asked_for(tmp_path, address):
    copied(machine(tmp_path / "one"), address, 5, 10, 15, 20, 25, keep_every=10)
    assert complete(address) == {f"checkpoints/{number}" for number in (10, 20, 25)}
    names = Remote(address, "--mirror").names()
    assert {name.split("/")[1].removesuffix(LIST) for name in names if name.startswith("ch")} == {"10", "20", "25"}


@pytest.mark.parametrize("sent", range(5))
def test_a_copy_that_was_interrupted_anywhere_does_not_count(tmp_path, address, monkeypatch, sent):
    """Each of the operations that make up a copy is the last one."""
    folder = machine(tmp_path / "one")
    copied(folder, address, 5)
    step(folder, 10)
    made, left = mirror(folder, address), [sent]

    def limited(operation):
        def call(*args):
            if not left[0]:
                raise KeyboardInterrupt  # as abrupt as an end of the process
            left[0] -= 1
            return operation(*args)

        return call

    for name in ("send", "write", "remove"):
        monkeypatch.setattr(made._remote, name, limited(getattr(made._remote, name)))
    with pytest.raises(KeyboardInterrupt):
        made._copy(ends=False)
    two = machine(tmp_path / "two")
    mirror(two, address)
    assert [path.name for path in (two / "checkpoints").iterdir()] == ["5"]
    assert not any(name.startswith("checkpoints/10") for name in Remote(address, "--mirror").names())


@pytest.mark.parametrize("damage", ["deep/array", "list", "gone"])
def test_a_damaged_copy_is_said_and_the_one_before_is_used(tmp_path, address, damage):
    copied(machine(tmp_path / "one"), address, 5, 10)
    remote = Remote(address, "--mirror")
    match damage:
        case "list":
            remote.write(f"checkpoints/10{LIST}", b'[["deep/')
        case "gone":
            remote.remove("checkpoints/10/deep/array")
        case _:
            remote.write("checkpoints/10/deep/array", bytes([11]) * 1000)
    two = machine(tmp_path / "two")
    for number in (7, 10):  # then the copy is mended
        with pytest.warns(UserWarning, match=r"checkpoints/10 cannot be used: "):
            copied(two, address, number)
        assert {path.name for path in (two / "checkpoints").iterdir()} == {"5", "7"} | {str(number)}
        assert (two / "log").read_text() == f"up to {number}"
    three = machine(tmp_path / "three")
    mirror(three, address)
    assert (three / "checkpoints" / "10" / "deep" / "array").read_bytes() == bytes([10]) * 1000


def test_a_copy_of_which_nothing_can_be_used_is_refused(tmp_path, address):
    copied(machine(tmp_path / "one"), address, 5)
    Remote(address, "--mirror").remove("checkpoints/5/deep/array")
    with (
        pytest.warns(UserWarning),
        pytest.raises(InputError, match=r"none of the checkpoints in memory://.* can be used"),
    ):
        mirror(machine(tmp_path / "two"), address)


def test_a_checkpoint_that_the_run_is_removing_is_not_taken_for_a_whole_one(tmp_path, address, monkeypatch):
    """Newer ones have come since it was looked at, and some of its files are gone."""
    folder = machine(tmp_path / "one")
    made = mirror(folder, address)
    step(folder, 5)

    def slowly():
        for number in (10, 15):
            step(folder, number)
        (folder / "checkpoints" / "5" / "deep" / "array").unlink()

    monkeypatch.setattr(made, "_send_small", slowly)
    made._copy(ends=False)
    assert complete(address) == set()
    monkeypatch.setattr(made, "_send_small", lambda: None)
    made._copy(ends=False)
    assert complete(address) == {"checkpoints/15"}


def test_a_machine_keeps_what_is_as_new(tmp_path, address):
    one, two = machine(tmp_path / "one"), machine(tmp_path / "two")
    copied(one, address, 5)
    copied(two, address, 10)
    mirror(one, address)
    assert (one / "checkpoints" / "10").exists() and (one / "log").read_text() == "up to 10"
    before = contents(one)
    mirror(one, address)
    assert contents(one) == before


def test_the_copy_of_another_run_is_refused(tmp_path, address):
    copied(machine(tmp_path / "one"), address, 5)
    with pytest.raises(
        InputError, match=r"memory://.* holds another run: settings was 1 and is 2. .* another --mirror"
    ):
        mirror(machine(tmp_path / "two", settings=2), address)


def test_failures_are_said_and_tried_again(tmp_path, address, monkeypatch):
    folder, said = machine(tmp_path / "one"), []
    made = mirror(folder, address, report=said.append)
    send, failures = made._remote.send, iter(range(2))

    def unreliable(name, path):
        if next(failures, None) is not None:
            raise RemoteError("no way through")
        return send(name, path)

    monkeypatch.setattr(made._remote, "send", unreliable)
    step(folder, 5)
    made.start()
    end = time.monotonic() + 20
    while complete(address) != {"checkpoints/5"}:
        assert time.monotonic() < end
        time.sleep(0.01)
    with made:
        pass
    assert len(said) == 2 and said[0].startswith("no way through; the run goes on, and this is tried again in ")


@pytest.mark.parametrize("why", [None, ValueError("the reason of the end")])
def test_a_copy_that_cannot_be_completed_is_an_error_that_hides_no_other(tmp_path, address, monkeypatch, why):
    folder, said = machine(tmp_path / "one"), []
    made = mirror(folder, address, report=said.append)

    def fail(name, path):
        raise RemoteError("no way through")

    monkeypatch.setattr(made._remote, "send", fail)
    text = rf"the copy is behind: no way through. Everything is whole in {folder}; the same command copies it"
    with pytest.raises(InputError if why is None else ValueError, match=text if why is None else str(why)), made:
        step(folder, 5)
        if why is not None:
            raise why
    assert said == [] if why is None else [text]
    copied(folder, address)
    with mirror(folder, address):
        pass
    assert complete(address) == {"checkpoints/5"}


def test_an_address_that_takes_nothing_ends_the_run_at_its_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"--mirror file://.*/file/run cannot (give|take) config.json: Not a directory"
    ):
        mirror(machine(tmp_path / "one"), f"file://{tmp_path}/file/run")
