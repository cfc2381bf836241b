"""Rows of a table by their encoders, layers and texts: which are made, what each is compared with, and why not."""

import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from worlds import sentence, write_encoder

from bert_jax.config import ReadoutConfig
from bert_jax.errors import InputError
from experiments import cells, reproduce, scales
from experiments.scales import change
from experiments.tables.table import SEED, Column, Encoder, Line, Table

MEAN, WHITE = ReadoutConfig(pooling="mean"), ReadoutConfig("last", "mean", "whiten(size=3)")
TABLE = Table(
    name="toy",
    title="A toy",
    source="nowhere",
    protocol="test sets",
    published_on="test",
    columns=(Column("STSb", "stsb", "sts"),),
    encoders=(Encoder("many", f"some/bert-{SEED}"), Encoder("other", "some/other", pretrain=None)),
    lines=(
        Line("mean", "many", MEAN, "50.12±.31"),
        Line("embeddings", "many", ReadoutConfig("-2", "mean")),
        Line("deep", "many", ReadoutConfig("-3", "mean")),
        Line("white", "many", WHITE),
        Line("white on NLI", "many", WHITE, against="white", changes={"sts.whitening": "train"}),
        Line(
            "deep white on NLI",
            "many",
            ReadoutConfig("-2", "mean", "whiten(size=3)"),
            changes={"sts.whitening": "train"},
        ),
        Line("other", "other", MEAN),
    ),
    paper={"seeds": 2, "pretrain_seeds": 2},
    plain=False,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two pretrainings of an encoder with one block, the STS benchmark and sentences for whitening."""
    folder, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(3)
    write_encoder(folder / "bert-0")
    shutil.copytree(folder / "bert-0", folder / "bert-1")
    weights = {name: tensor + 0.1 for name, tensor in load_file(folder / "bert-1/model.safetensors").items()}
    save_file(weights, folder / "bert-1/model.safetensors", {"format": "pt"})
    (folder / "STSBenchmark").mkdir()
    lines = [f"g\tf\ty\t1\t{row % 6}\t{sentence(rng)}\t{sentence(rng)}\n" for row in range(24)]
    (folder / "STSBenchmark/sts-test.csv").write_text("".join(lines))
    (folder / "more.txt").write_text("".join(f"{sentence(rng, 6)}\n" for _ in range(20)))
    return folder


def settings(world, **changes):
    given = {"out": world / "out", "encoder": (f"many={world}/bert-{SEED}",), "sts_dir": world}
    return change(scales.defaults(TABLE, "mini"), given | {"nli": (str(world / "more.txt"),)} | changes)


def test_rows_of_several_pretrainings_layers_and_texts(world):
    config = settings(world)
    cells.run_table(TABLE, config)
    reproduce.report(TABLE, config)
    found = {line.title: cells.measure(TABLE, config, line, TABLE.columns[0]) for line in TABLE.lines}
    made = {title: set(cell.rows) for title, cell in found.items()}
    both = {(0, 0), (1, 1)}
    assert made == dict.fromkeys(("mean", "embeddings", "white", "white on NLI", "deep white on NLI"), both) | {
        "deep": set(),
        "other": set(),
    }
    assert len(set(found["mean"].values.values())) == 2, "each pretraining has its own weights"
    assert found["white"].values != found["white on NLI"].values
    gap = reproduce._gaps(reproduce.collect(TABLE, config))["white on NLI", "STSb"]
    expected = np.mean([found["white on NLI"].values[seed] - found["white"].values[seed] for seed in (0, 1)])
    assert gap.every.level == "pretrainings" and gap.every.in_points().mean == pytest.approx(expected)


def test_the_table_says_what_is_compared_and_what_is_left_out(world):
    text = (world / "out/table.md").read_text()
    for words in (
        "50.12±.31",
        "Differences:",
        "white on NLI, to white",
        "Rows of layers that an encoder lacks are left out.",
        "other is absent: some/other is not pretrained at this scale; name it with --encoder other=DIR_OR_HUB_ID.",
    ):
        assert words in text, words
    assert re.search(r"\| mean +\| published \|.*\n\| +\| measured ", text)
    assert re.search(r"\| white +\| measured ", text), "nothing is published of this row"
    assert "| deep " not in text.replace("| deep white", "") and f"many is {world}/bert-{SEED}" in text
    config = settings(world, nli=())
    notes = reproduce._notes(TABLE, config, reproduce.collect(TABLE, config))
    assert "white on NLI: --nli is needed: the texts that whitening is fitted on." in notes


def test_numbers_that_can_never_be_compared_say_why():
    own = scales.defaults(TABLE, "base")
    assert reproduce.refusals(TABLE, own) == []
    assert reproduce.refusals(change(TABLE, {"incomparable": "other heads"}), own) == ["other heads"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": ("many=WORLD/bert-0",)}, r"--pretrain-seeds 2: many is one checkpoint, /.*bert-0; write \{seed\}"),
        ({"rows": ("other",)}, "no row of toy can be measured: some/other is not pretrained at this scale"),
        ({"rows": ("deep",)}, "no row of toy can be measured: the encoder has no such layer"),
    ],
)
def test_rows_that_cannot_be_made_are_refused_before_anything_runs(world, monkeypatch, changes, message):
    monkeypatch.setattr(reproduce, "tables", lambda: {"toy": TABLE})
    given = (
        {"encoder": tuple(one.replace("WORLD", str(world)) for one in changes["encoder"])}
        if "encoder" in changes
        else {}
    )
    with pytest.raises(InputError, match=message):
        reproduce.main(settings(world, **(changes | given)))
