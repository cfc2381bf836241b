"""A text a line, from any kind of file; what is wrong with a line is said with its number."""

import bz2
import gzip
import json
import lzma
import os

import pytest

from bert_jax.corpus.lines import blocks, read_lines
from bert_jax.errors import InputError

TEXT = "one\n\nthree é\r\nfour\u2028still four\x0cand still"


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_every_line_is_a_text(pack, end, tmp_path) -> None:
    path = tmp_path / "texts"
    path.write_bytes(pack((TEXT + end).encode()))
    expected = ["one", "", "three é", "four\u2028still four\x0cand still"]
    assert list(read_lines(path)) == expected
    assert list(read_lines(path, skip=2)) == expected[2:]


def test_lines_over_the_pieces_that_are_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("bert_jax.corpus.lines._PIECE", 3)
    path = tmp_path / "texts"
    path.write_bytes(TEXT.encode())
    assert list(read_lines(path)) == ["one", "", "three é", "four\u2028still four\x0cand still"]


def test_a_field_of_json_lines(tmp_path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"id": n, "text": f"x{n}\n"}) + "\n" for n in range(3)))
    assert list(read_lines(path, "text")) == ["x0\n", "x1\n", "x2\n"]


@pytest.mark.parametrize(
    ("content", "field", "reason"),
    [
        (b"ok\nb\xffd\n", None, "line 2 is not UTF-8 (invalid start byte at byte 2); convert the file"),
        (b'{"text": "a"}\n{"text"\n', "text", "line 2: not JSON ("),
        (b'{"text": "a"}\n{"txet": "a", "n": 1}\n', "text", "line 2: no field 'text', it has txet, n; name"),
        (b'{"text": 3}\n', "text", "line 1: 'text' is 3 where a string is needed; name the field with --field"),
        (b'{"text": null}\n', "text", "line 1: 'text' is null where a string is needed"),
        (b'{"text": ["a", "b"]}\n', "text", "line 1: 'text' is a list of 2 where a string is needed"),
        (b'{"text": "a"}\n{"text": "\\ud83d"}\n', "text", "line 2: 'text' holds \\ud83d, half of a surrogate pair"),
        (b'{"text": ' + b"[" * 100_000, "text", "line 1: this JSON is nested too deeply"),
        (b"[1]\n", "text", "line 1: a list of 1 where a JSON object is needed: '[1]'"),
        (gzip.compress(b"abc\n", mtime=0)[:-6], None, "is damaged or cut off"),
    ],
)
def test_what_is_wrong_is_named(content, field, reason, tmp_path) -> None:
    path = tmp_path / "texts"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read_lines(path, field))
    assert str(caught.value).startswith(str(path)) and reason in str(caught.value)


def test_a_file_that_is_not_there_and_a_line_without_end(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match=f"there is no file {tmp_path / 'none'}"):
        list(read_lines(tmp_path / "none"))
    monkeypatch.setattr("bert_jax.corpus.lines._LONGEST", 1 << 20)
    (tmp_path / "long").write_bytes(b"ok\n" + b"x" * (3 << 20))
    with pytest.raises(InputError, match="line 2 is longer than 1 MB"):
        list(read_lines(tmp_path / "long"))


def test_what_can_be_read_only_once_is_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=f"--input {tmp_path / 'pipe'} is a pipe or device"):
        list(read_lines(tmp_path / "pipe"))


def test_blocks_keep_order_and_bounds() -> None:
    texts = ["x" * (n % 7) for n in range(100)]
    parts = list(blocks(iter(texts), 8, 20))
    assert [text for part in parts for text in part] == texts
    assert all(len(part) <= 8 and sum(map(len, part)) < 20 + 7 for part in parts) and all(parts)
