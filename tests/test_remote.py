"""Files of a remote folder arrive whole and checked, or not at all."""

import hashlib
import sys
import uuid
from pathlib import Path

import pytest

from bert_jax import remote as remotes
from bert_jax.errors import InputError
from bert_jax.remote import Damaged, Entry, Remote, RemoteError, read_entries


@pytest.fixture(params=["memory", "file"])
def remote(request, tmp_path):
    return Remote(
        f"memory://{uuid.uuid4()}/run" if request.param == "memory" else f"file://{tmp_path}/there/run", "--x"
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a file"
    path.write_bytes(bytes(range(256)) * 40)
    return path


def test_small_files_are_written_read_listed_and_removed(remote):
    assert remote.names() == [] and remote.read("a") is None
    remote.write("a", b"1")
    remote.write("a", b"22")
    remote.write("b/c/d", b"3")
    assert remote.names() == ["a", "b/c/d"] and remote.read("a") == b"22" and remote.read("b/c/d") == b"3"
    for name in ("b", "b", "never there"):
        remote.remove(name)
    assert remote.names() == ["a"]


@pytest.mark.parametrize("piece", [1000, 10_240, 100_000])
def test_a_file_comes_back_as_it_went(remote, path, monkeypatch, tmp_path, piece):
    monkeypatch.setattr(remotes, "_PIECE", piece)
    row = remote.send("x/y", path)
    assert row == Entry("x/y", 10_240, hashlib.sha256(path.read_bytes()).hexdigest())
    remote.bring(row, tmp_path / "new folder" / "back")
    assert (tmp_path / "new folder" / "back").read_bytes() == path.read_bytes()
    assert [found.name for found in (tmp_path / "new folder").iterdir()] == ["back"]


@pytest.mark.parametrize("length", [1, 3333, 10_240, 20_000])
@pytest.mark.parametrize("right", [True, False])
def test_an_interrupted_copy_goes_on(remote, path, monkeypatch, tmp_path, length, right):
    """If the part is of another file, it begins again."""
    row, content = remote.send("x", path), path.read_bytes() * 2
    (tmp_path / "back.partial").write_bytes((content if right else content[::-1])[:length])
    asked, piece = [], remote._piece
    monkeypatch.setattr(remote, "_piece", lambda name, start, end: asked.append(start) or piece(name, start, end))
    remote.bring(row, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert asked == ([length] if length < 10_240 else []) + ([] if right else [0])


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"bytes": 10_241}, {"bytes": 10_239}, {"file": "no"}])
def test_a_file_that_is_not_as_listed_does_not_appear(remote, path, tmp_path, change):
    row = remote.send("x", path)._replace(**change)
    with pytest.raises(Damaged, match=r"--x .*/run: (x|no) (differs from its checksum|is missing or too short)"):
        remote.bring(row, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "at is null; it must be a list"),
        ([["a", 1, "0"]], r"at, item 0 is \[.*\]; it must be an object"),
        ([{"file": "a", "bytes": "1", "sha256": "0"}], 'at, item 0, bytes is "1"; it must be a whole number'),
        ([{"file": "a", "bytes": 1}], "at, item 0 has no sha256"),
        *(
            ([{"file": name, "bytes": 1, "sha256": "0"}], f"at: '{name}' is not the name of a file in this folder")
            for name in ("../a", "b/../../a", "/a", "")
        ),
    ],
)
def test_a_list_of_files_that_is_none_or_leads_out_of_the_folder_is_refused(rows, message):
    with pytest.raises(Damaged, match=message):
        read_entries(rows, "at")
    good = {"file": "a/b", "bytes": 1, "sha256": "0"}
    assert read_entries([good | {"split": "train"}], "at") == [Entry(**good)]


def test_an_address_that_nobody_knows_is_explained(monkeypatch):
    with pytest.raises(InputError, match=r"--x hmm://a: Protocol not known: hmm; use gs://BUCKET/FOLDER"):
        Remote("hmm://a", "--x")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"--x s3://a/b: .*s3fs.*; pip install 'bert_jax\[mirror\]'"):
        Remote("s3://a/b", "--x")


def test_a_folder_that_takes_nothing_is_named(tmp_path):
    (tmp_path / "file").touch()
    remote = Remote(f"file://{tmp_path}/file/run", "--x")
    with pytest.raises(
        RemoteError, match=rf"--x file://{tmp_path}/file/run cannot take a: (Not a directory|File exists)"
    ):
        remote.write("a", b"")


def test_only_addresses_have_a_scheme():
    assert remotes.is_address("gs://a/b") and not any(map(remotes.is_address, ("a/b", Path("/a:b"), None)))
