"""A table is the same in every format, and what is wrong with a file is said with its place."""

import pytest
from worlds import write_table

from bert_jax.errors import InputError
from bert_jax.tasks.table_files import Form, read_table

ROWS = [
    {"text": 'He said, "go".', "label": "a"},
    {"text": "two\nlines", "label": "b"},
    {"text": "caf\u00e9\u2028one line", "label": "a"},
]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_quotes_commas_and_line_ends_in_a_field_are_kept(tmp_path, ending):
    table = read_table(write_table(tmp_path / f"x.{ending}", ROWS), Form())
    assert table.columns == {name: [row[name] for row in ROWS] for name in ("text", "label")}
    assert table.numbers == {"csv": [2, 3, 5], "jsonl": [1, 2, 3], "parquet": [1, 2, 3]}[ending]


def test_quotes_in_a_tab_separated_file_are_text_unless_they_are_said_to_quote(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text('text\tlabel\n"one\t0\n""two""\t1\n')
    assert read_table(path, Form()).columns["text"] == ['"one', '""two""']
    path.write_text('text\tlabel\n"one\ttab"\t0\n')
    with pytest.raises(InputError, match=r"(?s)x\.tsv, row 2: 3 .* quotes = true"):
        read_table(path, Form())
    assert read_table(path, Form(quotes=True)).columns["text"] == ["one\ttab"]


def test_a_file_without_a_header_and_with_another_delimiter_and_encoding_is_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("gro\u00df;1\r\n\r\nklein;0\r\n".encode("latin-1"))
    table = read_table(path, Form("latin-1", ";", header=False))
    assert table.columns == {"0": ["gro\u00df", "klein"], "1": ["1", "0"]} and table.numbers == [1, 3]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", b"a,b\n1,2\n1,2,3\n", "line 3: 3 fields where 2 are needed"),
        ("x.csv", b'a,b\n1,"2\n', "line 2: .*a quote that begins a field must end it"),
        ("x.csv", b'a,b\n"1"x,2\n', "line 2: .*expected"),
        ("x.csv", b"a;b\n1;2\n", r'separated by \';\': write delimiter = ";"'),
        ("x.csv", b"a,a\n1,2\n", "two columns are called 'a'"),
        ("x.csv", b"", "the file is empty"),
        ("x.csv", b"a,b\n", "it has no row"),
        ("x.csv", b"a,b\n1,\xe9\n", 'line 2: byte 6 is not utf-8; .*encoding = "latin-1"'),
        ("x.csv", "a,b\n1,2\n".encode("utf-16"), 'it is UTF-16; write encoding = "utf-16"'),
        ("x.tsv", b"a\tb\n1\n", "row 2: 1 tab-separated field where 2 are needed"),
        ("x.jsonl", b'{"a": 1}\n[2]\n', "line 2: a list of 1 where a JSON object is needed"),
        ("x.parquet", b"PAR1", "cannot be read as Parquet"),
        ("x.xls", b"", r"'\.xls'\. Available: \.csv, \.jsonl, \.parquet, \.tsv"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*{said}"):
        read_table(tmp_path / name, Form())


def test_a_missing_file_and_an_unknown_encoding_are_said(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "x.csv", Form())
    with pytest.raises(InputError, match="no encoding 'utf-9'"):
        read_table(write_table(tmp_path / "x.csv", ROWS), Form("utf-9"))
