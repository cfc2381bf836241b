"""Every table's numbers are those of its source, and everything that it names is there at every scale."""

import re
from pathlib import Path

import pytest

from bert_jax.config import preset
from bert_jax.model.readout import check
from bert_jax.tasks import sts
from bert_jax.tasks.suites import SUITES
from bert_jax.train.pretrain import check as check_pretraining
from experiments.cells import stand_in
from experiments.reproduce import describe_needs, named_tables
from experiments.scales import SCALES, change, defaults, pretraining
from experiments.tables import tables
from experiments.tables.table import NONE

TABLES = tables()
EVERY = pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
WANTED = "bert-table1 bert-table5 bert-table6 bert-table8 bert-miniatures sbert-table1 sbert-table5 sbert-table6"
BETWEEN = r"(?:[\s/*:,]|[A-Za-z][\w-]*(?=\s))+"
"""What may stand between two numbers of a row in the reference: white space, signs and names of columns."""


def test_the_tables_are_there():
    assert {*WANTED.split(), "simcse-table6", "minilm-sts", "nsp-pooling"} <= set(TABLES)


def in_reference(published: str) -> str:
    """A pattern for the numbers of a row, one after the other; what is not published there may stand between."""
    numbers = [r"-?[\d.]+" if text == NONE else re.escape(text) for text in published.split()]
    return rf"(?<![\d.]){BETWEEN.join(numbers)}(?![\d.]*\d)"


@EVERY
def test_published_numbers_are_those_of_the_reference(table):
    path = Path(__file__).parents[3] / "shared" / "REFERENCE.md"
    if not path.is_file():
        pytest.skip(f"the published figures are not at {path}")
    text = path.read_text(encoding="utf-8").replace("**", "")
    for line in table.lines:
        if table.name == "minilm-sts" and line.title == "[CLS]":  # written there as four numbers and one
            assert "75.06 76.46 71.51 75.30 and 73.50" in text and line.published == "75.06 76.46 71.51 75.30 - 73.50 -"
        elif table.published_on and line.published.replace(NONE, "").split():
            numbers = line.published if NONE not in line.published.split() else line.published.replace(NONE, "").strip()
            assert re.search(in_reference(numbers), text), f"{table.name}, {line.title}: {line.published}"


def test_the_check_of_published_numbers_catches_a_wrong_one():
    text = "BERT 84.4 88.4 86.7 92.7 88.5 · No NSP 83.9; Tiny: CoLA 0.0 SST-2 83.2 MRPC 81.1/71.1"
    assert re.search(in_reference("84.4 88.4 86.7 92.7 88.5"), text)
    assert re.search(in_reference("0.0 83.2 81.1 71.1"), text)
    for wrong in ("84.4 88.4 86.7 92.7 88.6", "84.4 86.7 92.7", "0.0 83.2 71.1", "84.4 88.4 86.7 92.7 88"):
        assert not re.search(in_reference(wrong), text), wrong


@EVERY
def test_averages_are_those_of_their_columns(table):
    for number, column in enumerate(table.columns):
        for line in table.lines if column.regime == "average" else ():
            others = [value for i, value in enumerate(line.numbers()) if i != number]
            if all(value is not None for value in others) and "LARGE" not in line.title:
                # Computed in the source from unrounded numbers.
                assert sum(others) / len(others) == pytest.approx(line.numbers()[number], abs=0.06)


@EVERY
def test_what_a_table_names_is_there_at_every_scale(table):
    assert table.published_on or not any(line.published for line in table.lines)
    for line in (line for line in table.lines if not line.absent):
        check(line.readout, preset("tiny"))
        for scale in SCALES:
            assert change(defaults(table, scale), line.changes)
    for scale in SCALES:
        config = defaults(table, scale)
        assert config.table == table.name and config.scale == scale and config.out.name == f"{table.name}-{scale}"
        for encoder in table.encoders:
            check_pretraining(pretraining(encoder, config))
        assert describe_needs(table, scale)


@EVERY
def test_tables_that_quote_senteval_follow_its_protocol(table):
    if any(column.regime == "probe" and column.source() == "senteval" for column in table.columns):
        assert [defaults(table, scale).probe.protocol for scale in SCALES] == ["scaled", "senteval", "senteval"]


@EVERY
def test_columns_name_tasks_with_the_metrics_and_sets_that_they_want(table):
    for column in table.columns:
        if column.absent or column.regime in ("average", "pretraining"):
            continue
        if column.regime == "siamese":
            assert column.task in ("nli", "sts", "simcse")
            continue
        suite = sts.SETS if column.source() == "sts" else SUITES[column.source()]
        task = suite[column.task]
        assert not column.metric or column.metric in task.metrics
        assert not column.evaluation or column.evaluation in task.evaluations
        tiny = stand_in(column, defaults(table, "tiny"))
        assert tiny is None or tiny.task in SUITES["synthetic"]


@EVERY
def test_something_of_every_table_can_be_made_on_a_laptop(table):
    config = defaults(table, "tiny")
    assert any(stand_in(column, config) for column in table.columns if column.regime != "average" and not column.absent)


def test_rows_of_different_encoders_differ_in_what_they_say_they_do():
    config, table = defaults(TABLES["bert-table5"], "base"), TABLES["bert-table5"]
    found = {encoder.name: pretraining(encoder, config).objective for encoder in table.encoders}
    assert [found["nsp"].pairs, found["no-nsp"].pairs, found["ltr"].tokens] == ["nsp", "none", "ltr"]
    shares = {
        encoder.name: (one.mask_share, one.random_share)
        for encoder in TABLES["bert-table8"].encoders
        for one in [pretraining(encoder, config).objective]
    }
    assert shares["80-10-10"] == (0.8, 0.1) and shares["0-20-80"] == (0.0, 0.8) and shares["80-20-0"] == (0.8, 0.0)
    sizes = {encoder.name: preset(pretraining(encoder, config).preset) for encoder in TABLES["bert-table6"].encoders}
    assert (sizes["6-768-3"].num_layers, sizes["6-768-3"].hidden_size, sizes["6-768-3"].num_heads) == (6, 768, 3)


@pytest.mark.parametrize("args", [["bert-table5", "--scale", "base"], ["bert-table5", "--scale=base"]])
def test_the_scale_of_the_command_line_decides_the_defaults(args):
    assert named_tables(args)["bert-table5"][1].pretrain.steps == 1_000_000
    assert named_tables(["bert-table5"])["bert-table5"][1].pretrain.steps < 10_000
