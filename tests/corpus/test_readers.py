"""Whatever a text is packed in, the same documents come out; what is damaged or unknown is said to be."""

import bz2
import gzip
import io
import json
import lzma
import os
import sys
import tarfile
import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds

from bert_jax.corpus import readers
from bert_jax.corpus.parts import Rows
from bert_jax.corpus.readers import digest, find_sources, read_blocks, read_documents
from bert_jax.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DOCUMENTS = ["One paragraph.\nAnd another, Älter.", "Only <b>one</b> line", "Three\nshort\nlines", "力 北区"]
KINDS = {
    "wikiextractor": "".join(
        f'<doc id="{i}" url="x?curid={i}" title="Title &amp; &quot;{i}&quot;">\nTitle & "{i}"\n\n{body}\n\n</doc>\n'
        for i, body in enumerate(DOCUMENTS)
    ),
    "jsonl": "".join(json.dumps({"id": i, "text": body}) + "\n" for i, body in enumerate(DOCUMENTS)),
    "text": "\n\n".join(DOCUMENTS) + "\n",
}
PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstd.compress}


def tar(**members):
    """A tar file of some members, name and content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"./folder/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def documents(*paths, size=1 << 20, field="text", bad_text="stop", how="auto"):
    """Every document of some files, without white space around it."""
    blocks = read_blocks(find_sources([str(path) for path in paths]), size, how)
    read = (document for block in blocks for document in read_documents(block, field, bad_text))
    return [document and document.strip() for document in read]


def failure(*args, **settings):
    with pytest.raises(InputError) as error:
        documents(*args, **settings)
    return str(error.value)


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_packing_gives_the_same_documents(tmp_path, kind, ending):
    content, pack = KINDS[kind].encode(), PACKERS[ending]
    plain, archive = tmp_path / f"plain{ending}", tmp_path / f"archive.tar{ending}"
    plain.write_bytes(pack(content))
    archive.write_bytes(pack(tar(a=content, b=gzip.compress(content), **{".hidden": b"\0"})))
    assert documents(plain) == DOCUMENTS
    assert documents(archive) == [*DOCUMENTS, *DOCUMENTS]


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_whole_wherever_reading_stops(tmp_path, kind):
    path = tmp_path / "file"
    path.write_text(KINDS[kind], encoding="utf-8")
    for piece in (*range(1, 30), 97, 1000):
        assert documents(path, size=piece) == DOCUMENTS, piece


def test_only_a_line_that_is_the_title_is_taken_for_it(tmp_path):
    path = tmp_path / "wiki_00"
    path.write_text('<doc id="1" title="Ant">\nAnts are insects.\n</doc>\n<doc id="2" title="Bee">\nBee\n\n</doc>\n')
    assert documents(path) == ["Ants are insects.", ""]


def test_text_of_other_systems(tmp_path):
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufefffirst\r\nline\r\n\r\nsecond\r\n \t\r\n\r\n\r\nthird".encode())
    assert documents(path) == ["first\r\nline", "second", "third"]


def test_a_folder_is_read_in_sorted_order_without_hidden_files(tmp_path):
    for name in ("b/2", "a/9", "a/10", ".hidden/1", "b/.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    assert documents(tmp_path) == ["text of a/10", "text of a/9", "text of b/2"]


def test_blocks_have_the_size_that_is_asked_for_and_say_how_far_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_PIECE", 100)
    for name in "abc":
        (tmp_path / name).write_bytes(gzip.compress("\n\n".join(f"document {i}" for i in range(100)).encode()))
    sources = find_sources([str(tmp_path)])
    blocks = list(read_blocks(sources, 500))
    sizes = [sum(len(part.data) for part in block.parts) for block in blocks]
    assert min(sizes[:-1]) >= 500 and max(sizes) < 700
    assert len({part.name for part in blocks[2].parts}) == 2
    positions = [block.position for block in blocks]
    assert positions == sorted(positions) and positions[-1] == sum(source.size for source in sources)
    assert len({digest(block) for block in blocks}) == len(blocks)


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large.tar.xz"
    content = ("A sentence of a document. " * 40 + "\n\n").encode() * 25_000
    path.write_bytes(lzma.compress(tar(large=content), preset=0))
    del content
    tracemalloc.start()
    try:
        blocks = sum(1 for _ in read_blocks(find_sources([str(path)]), 2_000_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert blocks == 13 and peak < 12e6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
def test_invalid_utf8_is_named_by_file_and_byte(tmp_path, kind, packed):
    content = KINDS[kind].encode()
    place = content.index(b"short")
    content = content[:place] + b"\xff" + content[place + 1 :]
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(tar(member=content)) if packed else content)
    message = failure(path)
    assert f"{path}{':folder/member' if packed else ''}: invalid UTF-8 at byte {place};" in message
    assert "--on-bad-text skip" in message
    assert documents(path, bad_text="skip") == [*DOCUMENTS[:2], None, DOCUMENTS[3]]


def test_half_a_character_that_json_spells_is_invalid_too(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_text('{"text": "whole \\ud83d\\ude42"}\n{"text": "half \\ud83d"}\n')
    message = failure(path)
    start = len(path.read_text().splitlines()[0]) + 1
    assert message.startswith(f"{path}, line 2, byte {start}: 'text' holds \\ud83d, half of a surrogate pair")
    assert message.count(";") == 1 and "--on-bad-text skip" in message
    assert documents(path, bad_text="skip") == ["whole 🙂", None]


@pytest.mark.parametrize("ending", PACKERS)
def test_what_is_cut_off_is_said_to_be(tmp_path, ending):
    rng = np.random.default_rng(0)
    content = "\n\n".join(" ".join(map(str, rng.integers(0, 10**9, 20))) for _ in range(500)).encode()
    packed = PACKERS[ending](tar(a=content, b=content))
    path = tmp_path / f"archive.tar{ending}"
    ends = {".gz": (3000, -1), ".zst": (3000, -1), "": (5000, 512 + len(content), len(content) + 1500)}
    for end in ends.get(ending, (3000, len(packed) // 2, -10)):
        path.write_bytes(packed[:end])
        assert f"{path} is damaged or cut off" in failure(path), end


def test_a_damaged_header_does_not_end_an_archive(tmp_path):
    content = bytearray(tar(a=b"text", b=b"text"))
    content[1024 + 150] ^= 1  # the checksum of the second member's header
    (tmp_path / "archive.tar").write_bytes(content)
    assert "bad checksum" in failure(tmp_path / "archive.tar")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0", "not a known kind of text"),
        ("text".encode("utf-16"), "not a known kind of text"),
        (b"  <!DOCTYPE html><p>x", "not a known kind of text"),
        (b"<mediawiki xmlns=''>", "not a known kind of text"),
        (b'<doc id="1" title="x">\nx\n', "byte 0 has no </doc>"),
        (b'<doc id="1">\nx\n</doc>\nstray\n</doc>\n', "byte 22: expected <doc ...>, found 'stray'"),
        (b'{"text": "x"}\n["y"]\n', "line 2, byte 14: a list of 1 where a JSON object is needed: '[\"y\"]'"),
        (b'{"text": "x"}\n{"text": \n', "line 2, byte 14: not JSON ("),
        (b'{"text": "x"}\n\n\n{"body": "y", "id": 1}\n', "line 4, byte 16: no field 'text', it has body, id; name the"),
        (b'{"text": 5}\n', "line 1, byte 0: 'text' is 5 where a string is needed; name the field with --text-field"),
        (b'{"text": "x"}\n{"text": null}\n', "line 2, byte 14: 'text' is null where a string is needed"),
        (b'{"text": ["x", "y"]}\n', "line 1, byte 0: 'text' is a list of 2 where a string is needed"),
        (b'{"text": ' + b"[" * 100_000 + b"\n", "line 1, byte 0: this JSON is nested too deeply"),
        (b'[{"text": "x"},\n {"body": "y"}]', "line 2, byte 17: no field 'text', it has body"),
        (b'[{"text": "x"}, "y"]', "byte 16: expected a JSON object or the end of the array: '\"y\"]'"),
        (b'[{"text": "x"}, {"text": "y', "byte 16: expected a JSON object or the end"),
        (b'[{"text": "x"}, {"text": "y"}', "byte 29: expected a JSON object or the end of the array: ''"),
        (b'[{"text": "x"}]\nMore', "byte 16: expected a JSON object or the end of the array: 'More'"),
        (b'["one text", "another"]', "is a JSON array, but not of objects"),
        (b'  [\n"' + b"one text" * 6000 + b'", "' + b"another" * 6000 + b'"]', "but not of objects"),
        (b"id,text\n1,A house.\n2,A river.\n", "its first 3 lines have 2 comma-separated fields each"),
        (b'id;text\n1;"A; house.\n\nIt is old."\n2;"A river."\n', "its first 3 lines have 2 semicolon-separated"),
        (b"id\ttext\tn\n" + b'1\t"A house.\t2\n' * 9, "its first 10 lines have 3 tab-separated fields each"),
        (b"id, text, n\n" + b"1, A house, and\n" * 9, "its first 10 lines have 3 comma-separated fields each"),
        (b"one\rtwo\rthree\r", "its lines end with a carriage return alone"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path, content, words):
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    message = failure(path)
    assert str(path) in message and words in message and len(message.splitlines()) <= 2


@pytest.mark.parametrize(
    "content",
    [
        "[1] A note.\n[2] Another, and\n[3] more.",
        "[[Link]] is a word.",
        '["Quoted" it says]',
        "Yes, sir.\nNo, sir.\nWell, sir.",
        "\tIndented.\n\tAgain.\n\tAnd again.",
        "A list: a, b, c\nOne, two\nNone",
        "12,000 people\ncame\nand went",
        "1\tone\n2\ttwo",
    ],
)
def test_prose_is_not_taken_for_data(tmp_path, content):
    (tmp_path / "a").write_text(content)
    assert documents(tmp_path / "a") == [content.strip()]


def test_what_looks_like_data_is_read_where_it_is_said_to_be_text(tmp_path):
    table = "id,text\n" + "1,A house.\n" * 20 + "\n3,A tree."
    (tmp_path / "a").write_text(table)
    assert "if it is plain text, with blank lines between documents: --documents blank-lines" in failure(tmp_path / "a")
    assert documents(tmp_path / "a", how="blank-lines") == table.split("\n\n")


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_each_file_is_a_document_where_that_is_wished(tmp_path, size):
    members = {"a": DOCUMENTS[0] + "\n\n" + DOCUMENTS[1], "b": '{"text": "code"}', "c": " \n"}
    (tmp_path / "x.tar").write_bytes(tar(**{name: text.encode() for name, text in members.items()}))
    (tmp_path / "y.txt").write_text("id,text\n1,A\n2,B\n", encoding="utf-8")
    expected = [members["a"], members["b"], "id,text\n1,A\n2,B"]
    assert documents(tmp_path, size=size, how="file") == expected


def test_a_file_that_is_too_long_for_one_document_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_LONGEST", 1000)
    monkeypatch.setattr(readers, "_PIECE", 100)
    (tmp_path / "file").write_text("a line\n\n" * 1000)
    assert "too long for --documents file" in failure(tmp_path / "file", how="file")


SPACES = [char for char in map(chr, range(sys.maxunicode + 1)) if not char.strip() and char != "\n"]


@pytest.mark.parametrize("size", [1, 2, 5, 1 << 20])
def test_a_line_is_blank_that_str_strip_leaves_empty(tmp_path, size):
    assert len(SPACES) > 20 and "\xa0" in SPACES and "\u3000" in SPACES and "\f" in SPACES
    expected = [f"{space}Text {number}.\n{space}It goes on." for number, space in enumerate(SPACES)]
    content = "".join(f"{text}\n{space}{space}\n{space}" for text, space in zip(expected, SPACES, strict=True))
    (tmp_path / "a").write_text(content, encoding="utf-8", newline="")
    assert documents(tmp_path / "a", size=size) == [text.strip() for text in expected]
    for space in SPACES:
        (tmp_path / "b").write_text(f"{space}\n\none\n{space}\ntwo\n{space}", encoding="utf-8", newline="")
        assert documents(tmp_path / "b", size=size) == ["one", "two"], repr(space)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("size", [1, 30, 1 << 20])
def test_an_array_of_objects_is_read_wherever_reading_stops(tmp_path, size, indent):
    rows = [{"id": i, "nested": [{"text": "]}"}], "text": body + '"}],{\\'} for i, body in enumerate(DOCUMENTS)]
    content = json.dumps(rows, ensure_ascii=False, indent=indent)
    (tmp_path / "a.json").write_text(content + "\n", encoding="utf-8")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf " + content.encode()))
    expected = [row["text"] for row in rows]
    assert documents(tmp_path / "a.json", size=size) == expected
    assert documents(tmp_path / "b.json.gz", size=size) == expected
    (tmp_path / "a.json").write_bytes(content.encode().replace("Ä".encode(), b"\xff"))
    assert documents(tmp_path / "a.json", size=size, bad_text="skip") == [None, *expected[1:]]


def test_members_whose_names_lead_out_of_an_archive_are_read(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("../texts/a", "/texts/b", "./c", "../.hidden/d", "/.e", "x/../f"):
            info = tarfile.TarInfo(name)
            info.size = 6
            archive.addfile(info, io.BytesIO(b"text " + name[-1:].encode()))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.tar").write_bytes(file.getvalue())
    assert documents(tmp_path / "in") == ["text a", "text b", "text c", "text f"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]  # nothing is written anywhere


def test_a_stray_nul_is_no_reason_to_refuse_a_text(tmp_path):
    content = "A text with\0 a NUL.\n\nAnother \x01one."
    (tmp_path / "a").write_text(content)
    assert documents(tmp_path / "a") == content.split("\n\n")
    for encoding in ("utf-16", "utf-16-le", "utf-32-be"):
        (tmp_path / "b").write_bytes(content.encode(encoding))
        assert "not a known kind of text" in failure(tmp_path / "b")


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert f"--input {tmp_path / 'pipe'} is a pipe or device, and is read more than once" in failure(tmp_path / "pipe")


def test_what_is_not_there_is_named(tmp_path):
    assert f"there is no {tmp_path / 'x'}" in failure(tmp_path / "x")
    assert f"{tmp_path} has no files" in failure(tmp_path)


def test_a_document_without_end_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_LONGEST", 1000)
    monkeypatch.setattr(readers, "_PIECE", 100)
    (tmp_path / "file").write_text("first\n\n" + "a line\n" * 1000)
    assert "the document at byte 7 has no end: a blank line must come after each" in failure(tmp_path / "file")


def test_another_field_of_json(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "text"}\n')
    assert documents(tmp_path / "a.jsonl", field="body") == ["text"]


class Articles(tfds.core.GeneratorBasedBuilder):
    """Ten articles."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {"title": tfds.features.Text(), "text": tfds.features.Text(), "n": np.int64}
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(10):
            yield i, {"title": f"Title {i}", "text": f"Article {i}.\nIt is ä.", "n": i}


@pytest.fixture
def tfds_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    tfds.disable_progress_bar()
    return tmp_path


def test_tfds_rows_are_documents(tfds_folder):
    (source,) = find_sources(["tfds:articles"])
    blocks = list(read_blocks([source], 3 * source.size // 10))
    assert [part[2:] for block in blocks for part in block.parts] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert blocks[-1].position == source.size and len({digest(block) for block in blocks}) == 4
    read = [document for block in blocks for document in read_documents(block, "text", "stop")]
    assert sorted(read) == [f"Article {i}.\nIt is ä." for i in range(10)]
    assert sorted(documents("tfds:articles", field="title")) == [f"Title {i}" for i in range(10)]
    assert isinstance(blocks[0].parts[0], Rows)


def test_tfds_mistakes_are_explained(tfds_folder):
    assert "no text in 'body' of n, text, title" in failure("tfds:articles", field="body")
    assert "no text in 'n'" in failure("tfds:articles", field="n")
    assert "no_such_set" in failure("tfds:no_such_set")
