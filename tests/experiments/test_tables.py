"""Every table's numbers are those of its source, and everything that it names is there at every scale."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bert_jax.config import preset
from bert_jax.model.readout import has_layers
from bert_jax.study.regimes import REGIMES
from bert_jax.tasks import sts
from bert_jax.tasks.suites import SUITES
from bert_jax.train.pretrain import check as check_pretraining
from experiments import cells
from experiments.columns import stand_in
from experiments.needs import describe_needs
from experiments.reproduce import named_tables
from experiments.scales import SCALES, change, defaults, pretraining
from experiments.tables import tables
from experiments.tables.table import NONE, SPREAD

TABLES = tables()
EVERY = pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
WANTED = "bert-table1 bert-table5 bert-table6 bert-table8 bert-miniatures sbert-table1 sbert-table5 sbert-table6"
MORE = "cls-by-objective multiberts senteval-info defsent bert-whitening roberta-table2 mnli-seeds"
BETWEEN = r"(?:[\s/*:,()|]|[A-Za-z][\w-]*(?=[\s,)]))+"
"""What may stand between two numbers of a row in the reference: white space, signs and names of columns."""


def test_the_tables_are_there():
    assert {*WANTED.split(), *MORE.split(), "simcse-table6", "minilm-sts", "nsp-pooling"} <= set(TABLES)


def in_reference(published: str) -> str:
    """A pattern for the numbers of a row, one after the other; what is not published there may stand between."""
    texts = published.replace(SPREAD, " ").split()
    numbers = [r"-?[\d.]+" if text == NONE else re.escape(text) for text in texts]
    return rf"(?<![\d.]){BETWEEN.join(numbers)}(?![\d.]*\d)"


@EVERY
def test_published_numbers_are_those_of_the_reference(table):
    path = Path(__file__).parents[3] / "shared" / "REFERENCE.md"
    if not path.is_file():
        pytest.skip(f"the published figures are not at {path}")
    text = path.read_text(encoding="utf-8").replace("**", "")
    for line in table.lines:
        if (table.name, line.title) in OTHERWISE:
            published, quoted = OTHERWISE[table.name, line.title]
            assert line.published == published and all(quote in text for quote in quoted), line.title
        elif table.published_on and line.published.replace(NONE, "").split():
            numbers = line.published if NONE not in line.published.split() else line.published.replace(NONE, "").strip()
            assert re.search(in_reference(numbers), text), f"{table.name}, {line.title}: {line.published}"


PROBED = "Length 54.9/77.6, WordContent 28.5/45.0, Depth 27.5/33.8, TopConstituents 69.1/66.8, BigramShift 84.8/88.2, "
PROBED += (
    "Tense 89.0/88.2, SubjNumber 81.3/84.6, ObjNumber 74.4/80.4, OddManOut 62.2/64.5, CoordinationInversion 69.4/68.1"
)
PROBED_BY = [" ".join(numbers) for numbers in zip(*re.findall(r"([\d.]+)/([\d.]+)", PROBED), strict=True)]
OTHERWISE = {
    ("minilm-sts", "[CLS]"): ("75.06 76.46 71.51 75.30 - 73.50 -", ["75.06 76.46 71.51 75.30 and 73.50"]),
    ("multiberts", "[CLS], BERT's pooler"): ("84.43" + 8 * " -", ["2M .8443 ["]),
    ("senteval-info", "base -1 cls"): (
        f"79.23 84.74 94.70 87.57 83.20 87.0 {PROBED_BY[0]}",
        ["base L12 [CLS] | 79.23 | 84.74 | 94.70 | 87.57 | 83.20 | 87.0 |", PROBED],
    ),
    ("senteval-info", "base -1 mean"): (
        f"79.53 85.72 95.05 87.63 85.06 89.8 {PROBED_BY[1]}",
        ["base L12 mean | 79.53 | 85.72 | 95.05 | 87.63 | 85.06 | 89.8 |", PROBED],
    ),
}
"""(table, row) whose numbers the reference has in another order or form: its numbers, and the quotations."""


def test_the_probing_columns_have_the_titles_of_the_reference():
    titles = re.findall(r"([A-Za-z]+) [\d.]+/", PROBED)
    assert [column.title for column in TABLES["senteval-info"].columns][-len(titles) :] == titles


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
            if others and all(value is not None for value in others) and "LARGE" not in line.title:
                # Computed in the source from unrounded numbers.
                assert sum(others) / len(others) == pytest.approx(line.numbers()[number], abs=0.06)


@EVERY
def test_what_a_table_names_is_there_at_every_scale(table):
    assert table.published_on or not any(line.published for line in table.lines)
    for scale in SCALES:
        config = defaults(table, scale)
        assert config.table == table.name and config.scale == scale and config.out.name == f"{table.name}-{scale}"
        for encoder in table.encoders:
            check_pretraining(pretraining(encoder, config))
        for line in (line for line in table.lines if not line.absent):
            changed, bert = change(config, line.changes), preset(pretraining(table.encoder(line), config).preset)
            if not has_layers(line.readout, bert.num_layers):
                assert scale != "base", f"{line.title}: the source's encoder has no such layer"
                continue
            # Their poolings do not depend on the layer.
            readout = replace(line.readout, layers="last") if line.readout.layers[-1].isdigit() else line.readout
            for regime in {column.regime for column in table.columns} & set(REGIMES):
                REGIMES[regime].check(readout, bert, getattr(changed, REGIMES[regime].settings))
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


@EVERY
def test_every_row_is_made_once_on_a_laptop_or_says_why_not(table, monkeypatch, tmp_path):
    """All runs of a table at scale tiny, without the runs."""
    monkeypatch.setattr(cells, "table_encoder", lambda *_: tmp_path)
    monkeypatch.setattr(
        cells, "missing", lambda column, config: column.absent or ("" if stand_in(column, config) else "x")
    )
    config = defaults(table, "tiny")
    made = [
        (line.title, seed)
        for encoder in cells.used(table, config)
        for seed in range(config.pretrain_seeds)
        for job in cells.jobs(table, config, encoder, seed)
        for line in job.lines
        if job.columns and len(job.seeds) == config.seeds // config.pretrain_seeds
    ]
    lines = cells.chosen_lines(table, config)
    wanted = [line.title for line in lines if not cells.absence(table, config, line)]
    assert sorted(made) == sorted((title, seed) for title in wanted for seed in range(config.pretrain_seeds))
    assert wanted and all(line.title in wanted or cells.absence(table, config, line) for line in lines)


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
