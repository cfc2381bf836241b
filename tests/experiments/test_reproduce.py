"""A table is filled from its runs, none of which is done twice, and compares only what compares."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from worlds import write_one_segment

from bert_jax.checkpoints.huggingface import Checkpoint
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.files import digest
from bert_jax.model.bert import SentenceEncoder
from bert_jax.pretrained import Pretrained
from bert_jax.study import regimes
from bert_jax.study.store import ResultStore, Row, read_rows
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.types import Tokens
from experiments import cells, reproduce, scales
from experiments.scales import change
from experiments.tables import tables
from experiments.tables.table import Column, Encoder, Line, Table

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog red blue sees runs sleeps very and".split()
ROWS = {"train": 24, "dev": 12, "test": 10}
CLS, MEAN = ReadoutConfig(), ReadoutConfig(pooling="mean")
FAST = {
    "seeds": 2,
    "finetune.epochs": 1,
    "finetune.batch_size": 8,
    "finetune.eval_batch_size": 8,
    "finetune.num_buckets": 1,
    "siamese.batch_size": 8,
    "siamese.eval_batch_size": 8,
    "siamese.num_buckets": 1,
    "siamese.dropout": 0.1,
    "siamese.epochs": 2,
    "siamese.optim.learning_rate": 1e-2,
}
TABLE = Table(
    name="toy",
    title="A toy",
    source="nowhere",
    protocol="development sets",
    published_on="validation",
    columns=(
        Column("CoLA", "cola"),
        Column("STS-B rho", "stsb", metric="spearman"),
        Column("QQP F1", "qqp", metric="f1"),
        Column("NLI", "nli", "siamese"),
        Column("STSb test", "stsb", "sts"),
        Column("NER", absent="there is none"),
        Column("Average", regime="average"),
    ),
    encoders=(Encoder("bert", "some/bert"),),
    lines=(
        Line("CLS", "bert", CLS, "50.0 60.0 70.0 40.0 30.00 90.0 60.0"),
        Line("MEAN", "bert", MEAN, "51.0 61.0 71.0 - 30.00 90.0 60.0"),
        Line("MLP", "bert", CLS, "- - - 42.0 - - -", changes={"siamese.training_projection": "mlp"}),
        Line("GloVe", "", CLS, "1 2 3 4 5 6 7", absent="no encoder"),
    ),
    paper=FAST,
)


def sentence(rng, words=4):
    return " ".join(rng.choice(WORDS[5:], words))


def write_data(folder):
    """CoLA and STS-B of GLUE, the STS benchmark and inference, small."""
    rng = np.random.default_rng(0)
    pair = lambda: f"{sentence(rng)}\t{sentence(rng)}"  # noqa: E731
    lines = {
        "CoLA": (lambda row: f"gj04\t{row % 2}\t\t{sentence(rng)}", []),
        "STS-B": (lambda row: f"{pair()}\t{row % 6}", ["sentence1\tsentence2\tscore"]),
    }
    for task, (line, header) in lines.items():
        (folder / "glue" / task).mkdir(parents=True)
        for file in ("train", "dev"):
            text = "".join(f"{one}\n" for one in [*header, *map(line, range(ROWS[file]))])
            (folder / "glue" / task / f"{file}.tsv").write_text(text)
    (folder / "sts" / "STSBenchmark").mkdir(parents=True)
    for file, rows in ROWS.items():
        text = "".join(f"main\tx\t2012\t{row}\t{row % 6}\t{pair()}\n" for row in range(rows))
        (folder / "sts" / "STSBenchmark" / f"sts-{file}.csv").write_text(text)
    names = ("entailment", "neutral", "contradiction")
    pairs = [{"premise": sentence(rng), "hypothesis": sentence(rng), "label": names[i % 3]} for i in range(16)]
    (folder / "nli.jsonl").write_text("".join(json.dumps(one) + "\n" for one in pairs))


def write_encoder(folder):
    config = BertConfig(len(WORDS), 16, 1, 2, 32, 32, initializer_range=0.2)
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    model = SentenceEncoder(config, CLS)
    params = jax.jit(lambda key: model.init(key, tokens)["params"])(jax.random.key(7))
    vocabulary = folder.with_suffix(".txt")
    vocabulary.write_text("".join(f"{word}\n" for word in WORDS))
    Pretrained(Checkpoint(config, params["encoder"]), WordPiece.from_vocabulary(vocabulary)).save(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_data(folder)
    write_encoder(folder / "encoder")
    return folder


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(reproduce, "tables", lambda: {"toy": TABLE})


def settings(world, out, **changes):
    given = {
        "out": out,
        "encoder": (str(world / "encoder"),),
        "same_encoder": True,
        "glue_dir": world / "glue",
        "sts_dir": world / "sts",
        "nli": (str(world / "nli.jsonl"),),
    }
    return change(scales.defaults(TABLE, "base"), given | changes)


@pytest.fixture(scope="module")
def whole(world):
    """A table that was made, and what its main printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce, "tables", lambda: {"toy": TABLE})
        reproduce.main(settings(world, world / "whole"))
    return world / "whole"


def all_rows(out):
    return {path.parent: read_rows(path.parent) for path in out.rglob("results.jsonl")}


def test_every_cell_has_its_runs_and_no_more(whole):
    found = {(row.regime, row.task, row.readout, row.seed) for rows in all_rows(whole).values() for row in rows}
    both, seeds = (str(CLS), str(MEAN)), (0, 1)
    tuned = {("finetune", task, readout, seed) for task in ("cola", "stsb") for readout in both for seed in seeds}
    assert tuned | {("siamese", "nli", readout, seed) for readout in both for seed in seeds} <= found
    assert {cell for cell in found if cell[0] == "sts"} == {("sts", "stsb", readout, 0) for readout in both}
    assert {
        row.config["siamese"]["training_projection"]
        for rows in all_rows(whole).values()
        for row in rows
        if row.regime == "siamese"
    } == {None, "mlp"}


def test_cells_are_found_from_the_rows(world, whole):
    config = settings(world, whole)
    line, column = TABLE.lines[1], TABLE.columns[1]
    found = cells.measure(TABLE, config, line, column)
    rows = [row for rows in all_rows(whole).values() for row in rows]
    wanted = {
        row.seed: 100 * row.metrics["validation"]["spearman"]
        for row in rows
        if (row.regime, row.task, row.readout) == ("finetune", "stsb", str(MEAN)) and "MLP" not in str(row.config)
    }
    assert found.values == wanted and len(wanted) == 2 and found.mean == pytest.approx(np.mean(list(wanted.values())))
    other = cells.measure(TABLE, config, TABLE.lines[2], TABLE.columns[3])
    same = cells.measure(TABLE, config, TABLE.lines[0], TABLE.columns[3])
    assert set(other.values) == {0, 1} and other.values != same.values, "rows with other settings are other runs"


def test_the_table_shows_published_beside_measured(whole):
    text = (whole / "table.md").read_text()
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    by_row = {
        (lines[i - k][0], line[1]): line[2:]
        for i, line in enumerate(lines)
        for k in range(3)
        if i >= k and lines[i - k][0] and not any(lines[i - j][0] for j in range(k))
    }
    assert by_row["CLS", "published"] == ["50.0", "60.0", "70.0", "40.0", "30.00", "90.0", "60.0"]
    measured, gaps = by_row["CLS", "measured"], by_row["CLS", "difference"]
    assert measured[2] == measured[5] == measured[6] == "absent" and gaps[2] == gaps[5] == gaps[6] == ""
    assert float(gaps[0]) == pytest.approx(float(measured[0].split()[0]) - 50, abs=0.06) and "±" in measured[0]
    assert gaps[4] == "", "published on the validation set and measured on the test set"
    assert by_row["MEAN", "difference"][3] == "" and by_row["GloVe", "measured"] == ["absent"] * 7
    for note in (
        "QQP F1 is absent: ",
        "NER is absent: there is none.",
        "GloVe is absent: no encoder.",
        "STSb test: published on the validation set, measured on the test set, so no difference is shown.",
        "Difference to CLS:",
        "Source: nowhere.",
    ):
        assert note in text, note


def test_nothing_is_run_twice(world, whole, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a finished run was begun again")

    before = {path: path.read_bytes() for path in whole.rglob("results.jsonl")}
    monkeypatch.setattr(regimes.siamese, "train_pairs_together", refuse)
    monkeypatch.setattr("bert_jax.study.regimes.finetune.finetune_together", refuse)
    monkeypatch.setattr("bert_jax.study.regime.extract_features", refuse)
    reproduce.main(settings(world, whole))
    assert before == {path: path.read_bytes() for path in whole.rglob("results.jsonl")}


def test_an_interrupted_table_goes_on(world, whole, monkeypatch):
    """After three of four runs; what was finished stays, and the rest comes to the same."""
    out, begun, real = world / "interrupted", [], regimes.finetune.finetune_together

    def stop(*args, **kwargs):
        begun.append(1)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    config = settings(world, out, columns=("CoLA",), rows=("CLS", "MEAN"))
    monkeypatch.setattr(regimes.finetune, "finetune_together", stop)
    with pytest.raises(KeyboardInterrupt):
        reproduce.main(config)
    assert [len(rows) for rows in all_rows(out).values()] == [3]
    reproduce.main(config)
    assert len(begun) == 5
    for line in TABLE.lines[:2]:
        one, other = (cells.measure(TABLE, settings(world, at), line, TABLE.columns[0]) for at in (whole, out))
        assert one.values == other.values and len(one.values) == 2


def test_what_does_not_compare_gets_no_difference(world, tmp_path):
    config = settings(world, tmp_path)
    assert reproduce.refusals(TABLE, config) == []
    for changes, reason in [
        ({"same_encoder": False}, "--encoder differs from the source's"),
        ({"finetune.epochs": 2}, "settings other than the table's: finetune"),
        ({"train_rows": 5}, "settings other than the table's: train-rows"),
    ]:
        assert any(reason in text for text in reproduce.refusals(TABLE, change(config, changes))), reason
    tiny = scales.defaults(TABLE, "tiny")
    assert reproduce.refusals(TABLE, tiny) == ["scale tiny is not the source's"]
    assert "SCALE TINY IS NOT THE SOURCE'S" in reproduce.protocol(TABLE, tiny)
    assert "NOT THE SOURCE'S" not in reproduce.protocol(TABLE, config)
    found = reproduce.Found(list(TABLE.lines), list(TABLE.columns), {})
    line = {column.title: cells.Measured({0: 50.0}) for column in TABLE.columns}
    found = found._replace(cells={one.title: line for one in TABLE.lines})
    assert "difference" not in set(reproduce._frame(TABLE, tiny, found)["numbers"])


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("training.json", [{"objective": "nli", "train": ["mnli"]}], "nli on mnli"),
        ("modules.json", [], "similarity"),
        ("config.json", {"id2label": {"0": "contradiction", "1": "entailment"}}, "natural language inference"),
    ],
)
def test_an_encoder_that_was_tuned_before_is_refused(world, tmp_path, file, content, what):
    shutil.copytree(world / "encoder", tmp_path / "tuned")
    path = tmp_path / "tuned" / file
    content = json.loads(path.read_text()) | content if path.exists() else content
    path.write_text(json.dumps(content))
    config = settings(world, tmp_path / "out", encoder=(str(tmp_path / "tuned"),))
    with pytest.raises(InputError, match=rf"was tuned on {what}.*starts from plain encoders"):
        reproduce.main(config)
    frozen = dataclasses.replace(TABLE, plain=False)
    assert cells.table_encoder(frozen, config, TABLE.encoders[0], 0) == tmp_path / "tuned"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": ("CSL",)}, r"unknown row of toy 'CSL'\. Did you mean 'CLS'"),
        ({"columns": ("COLA",)}, r"unknown column of toy 'COLA'"),
        ({"encoder": ("brt=x",)}, r"unknown encoder of toy 'brt'\. Did you mean 'bert'"),
        (
            {"columns": ("NER", "QQP F1")},
            r"no column of toy can be measured: QQP F1: .*; NER: there is none|NER: there",
        ),
        ({"encoder": (), "scale": "mini"}, r"--corpus is needed to pretrain bert"),
    ],
)
def test_mistakes_are_explained(world, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        reproduce.main(settings(world, tmp_path / "out", **changes))


def test_pairs_for_an_encoder_of_one_segment_are_refused_before_anything_runs(world, tmp_path):
    """The column of single texts comes first, and pairs that are read apart are no pairs to the encoder."""
    encoder = write_one_segment(world / "encoder", tmp_path / "one")
    config = settings(world, tmp_path / "out", encoder=(str(encoder),))
    with pytest.raises(InputError, match=r"^STS-B: this encoder has one segment"):
        reproduce.main(config)
    assert not (tmp_path / "out").exists()
    cells.check_encoders(TABLE, change(config, {"columns": ("CoLA", "NLI", "STSb test")}))


def test_batches_that_the_devices_cannot_share_are_refused_before_anything_is_made(monkeypatch, world, tmp_path):
    monkeypatch.setattr("jax.device_count", lambda: 7)
    with pytest.raises(InputError, match=r"--[a-z]+\.(eval-)?batch-size \d+ does not divide by the 7 devices"):
        reproduce.main(settings(world, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_table_with_several_encoders_asks_which_one_is_given(monkeypatch, world, tmp_path):
    monkeypatch.setattr(reproduce, "tables", tables)
    config = change(scales.defaults(tables()["bert-table1"], "base"), {"encoder": ("x",), "out": tmp_path})
    with pytest.raises(InputError, match="write NAME=DIR, NAME being one of base, large"):
        reproduce.main(config)


def test_seeds_are_shared_out_to_pretrainings(monkeypatch, world, tmp_path):
    config = settings(world, tmp_path, pretrain_seeds=2, seeds=5)
    found = [next(iter(cells.jobs(TABLE, config, TABLE.encoders[0], seed))) for seed in (0, 1)]
    assert [job.seeds for job in found] == [(0, 2, 4), (1, 3)]
    assert found[0].out != found[1].out


def test_the_same_pretraining_has_the_same_folder_in_every_table():
    folders = []
    for name, encoder in (("bert-table5", "nsp"), ("nsp-pooling", "nsp-cls"), ("bert-table8", "80-10-10")):
        table = tables()[name]
        config = change(scales.defaults(table, "tiny"), {"pretrained": Path("shared")})
        (one,) = (one for one in table.encoders if one.name == encoder)
        folders.append(cells.pretraining_run(config, one, 0).out)
    assert len(set(folders)) == 1
    other = cells.pretraining_run(change(config, {"pretrain.steps": 5}), one, 0).out
    assert other != folders[0] and other.parent == folders[0].parent


def test_the_list_names_every_table_and_what_it_needs(capsys, monkeypatch):
    monkeypatch.setattr(reproduce, "tables", tables)
    reproduce.print_list()
    out = " ".join(capsys.readouterr().out.split())
    for words in (*tables(), "--glue-dir", "--senteval-dir", "--corpus", "H100", "2 CPU cores"):
        assert words in out


LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1], 50))


def measured(folder, name, gaps, pretrainings):
    """A cell of accuracies 70 + gap, by seed; seed s is of pretraining s modulo their number."""
    rows, folders = {}, {}
    store = ResultStore(folder, {"name": name})
    for seed, gap in enumerate(gaps):
        wrong = np.random.default_rng(seed).permutation(100)[70 + gap :]
        found = {"validation": (np.where(np.isin(np.arange(100), wrong), 1 - LABELS, LABELS), LABELS)}
        config = {"name": name, "seed": seed}
        scores = {"validation": {"accuracy": (70 + gap) / 100}}
        majority, sizes = {"validation": {"accuracy": 0.5}}, {"validation": 100}
        fixed = ("toy", "Toy", "accuracy", False, name, None, seed, "ok", None, 1.0, 10)
        row = Row(digest(config), *fixed, sizes, scores, majority, config, pretraining=seed % pretrainings)
        store.append(row, found)
        rows[row.pretraining, seed], folders[row.id] = row, folder
    return cells.Measured({seed: 70.0 + gap for seed, gap in enumerate(gaps)}, rows, folders)


@pytest.mark.parametrize(("pretrainings", "level"), [(1, "seeds"), (3, "pretrainings")])
def test_the_readers_of_a_difference_are_the_pretrainings_where_there_are_several(tmp_path, pretrainings, level):
    gaps = [2, 9, 5, 4, 9, 6]
    reference = measured(tmp_path / "a", "a", [0] * 6, pretrainings)
    gap = cells.difference(reference, measured(tmp_path / "b", "b", gaps, pretrainings), Column("Toy", "toy"))
    assert gap.every.level == level and gap.every.in_points().mean == pytest.approx(np.mean(gaps))
    means = np.reshape(gaps, (2, 3)).mean(0) if pretrainings == 3 else gaps
    assert gap.every.components.between == pytest.approx(np.var(np.array(means) / 100, ddof=1))
    own = scales.defaults(tables()["nsp-pooling"], "tiny")
    config = dataclasses.replace(own, seeds=6, pretrain_seeds=pretrainings)
    notes = " ".join(reproduce._gap_notes(tables()["nsp-pooling"], config, {("b", "Toy"): gap}))
    assert f"over {level} and examples" in notes
    assert ("not between kinds of pretraining" in notes) == (level == "seeds")


def test_a_cells_difference_is_also_given_without_degenerate_runs(tmp_path):
    reference, other = measured(tmp_path / "a", "a", [0, -25, 0], 1), measured(tmp_path / "b", "b", [4, 3, 6], 1)
    gap = cells.difference(reference, other, Column("Toy", "toy"))
    assert gap.has_degenerate and gap.kept.runs == 2 and gap.kept.in_points().mean == pytest.approx(5)
    (line,) = reproduce._compare({("b", "Toy"): gap}).to_dict("records")
    assert line["Toy"].startswith("+12.7 [") and "; +5.0 [" in line["Toy"] and line["Toy"].endswith("of 2")
