"""The recipes of CONTRIBUTING.md work as they are written."""

import dataclasses
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from worlds import write_encoder, write_glue

import bert_jax.checkpoints.architectures
import bert_jax.model.architectures
import experiments.tables
from bert_jax.checkpoints.architectures import SCHEMAS
from bert_jax.checkpoints.directory import load_checkpoint
from bert_jax.evaluate import metrics
from bert_jax.model.encoder import Encoder
from bert_jax.model.pooling import POOLERS
from bert_jax.study.store import read_rows
from bert_jax.types import Tokens
from experiments import reproduce

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.+?)$.*?^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
LONGEST = 15


@pytest.fixture
def save(tmp_path, monkeypatch):
    """`save(heading)`: the recipe as the file that its first line names, on the path of imports. Gives its module."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    known = dict(POOLERS)

    def make(heading: str) -> str:
        place = tmp_path / RECIPES[heading].splitlines()[0].removeprefix("# ")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(RECIPES[heading], encoding="utf-8")
        return ".".join(place.relative_to(tmp_path).with_suffix("").parts)

    yield make
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) is None or str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
    POOLERS.clear()
    POOLERS.update(known)


@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_is_short_and_names_its_file(heading):
    lines = RECIPES[heading].splitlines()
    assert re.fullmatch(r"# [\w/]+\.py", lines[0]), f"{heading}: the first line names the file"
    assert len(lines) <= LONGEST, f"{heading} has {len(lines)} lines"


def test_the_pooler_reads_out_sentences(save, tmp_path):
    name = f"{save('A pooler')}.FirstTwo"
    write_encoder(tmp_path / "encoder")
    bert, texts = bert_jax.load(tmp_path / "encoder"), ["the cat sees a dog", "a dog runs", "blue"]
    first, second = (bert.embed(texts, pooling=f"token(index={index})") for index in (0, 1))
    assert np.abs(second).max() > 0.1
    np.testing.assert_allclose(bert.embed(texts, pooling=name), first + second, atol=1e-6)
    np.testing.assert_allclose(bert.embed(texts[2:], pooling=name), (first + second)[2:], atol=1e-6)  # less padding
    np.testing.assert_array_equal(bert.embed(texts, pooling="first_two"), bert.embed(texts, pooling=name))


def test_the_task_is_read_and_scored(save, tmp_path):
    recipe = importlib.import_module(save("A task"))
    rows = ["label\tsentence", "positive\tthe cat sleeps", "negative\tno dog runs", "positive\tvery blue"]
    (tmp_path / "dev.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    split = recipe.read(tmp_path, "dev")
    assert split.a == ["the cat sleeps", "no dog runs", "very blue"] and split.b is None
    assert split.gold.dtype == np.int32 and split.gold.tolist() == [1, 0, 1]
    answers = metrics.predict(np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]]), recipe.TASK)
    assert metrics.score(recipe.TASK, answers, split.gold) == {
        "accuracy": pytest.approx(2 / 3),
        "mcc": pytest.approx(0.5),
    }


def test_the_regime_is_offered_run_and_reported(tmp_path):
    """In a copy of the code, as a contributor adds it: no other file changes."""
    for folder in ("bert_jax", "experiments", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / RECIPES["A regime"].splitlines()[0].removeprefix("# ")).write_text(RECIPES["A regime"])
    write_encoder(tmp_path / "encoder")
    write_glue(tmp_path / "glue")
    line = "glue --encoder encoder --glue-dir glue --tasks cola --regimes probe majority --probe.folds 2 --seeds 1"
    command = [sys.executable, "-m", "experiments.ablate_pooling", *line.split(), "--out", "out"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    rows = [row for row in read_rows(tmp_path / "out") if row.regime == "majority"]
    assert [row.readout for row in rows] == ["last/cls/none", "last/mean/none"]
    assert all(row.is_degenerate("validation") for row in rows)
    header = next(x for x in (tmp_path / "out" / "table.md").read_text().splitlines() if x.startswith("| Task"))
    assert [cell.strip() for cell in header.strip("|").split("|")][2:] == ["Linear probe", "Majority"]
    assert (tmp_path / "out" / "figure.png").exists()


def test_the_table_is_listed_and_made(save, tmp_path, monkeypatch, capsys):
    place = tmp_path / Path(*save("A table").split(".")[:-1])
    monkeypatch.setattr(experiments.tables, "__path__", [*experiments.tables.__path__, str(place)])
    reproduce.print_list()
    assert "last-two" in capsys.readouterr().out
    write_encoder(tmp_path / "encoder")
    write_glue(tmp_path / "glue")
    _, config = reproduce.named_tables(["last-two", "--scale", "mini"])["last-two"]
    probe = dataclasses.replace(config.probe, folds=2)
    places = {"encoder": (str(tmp_path / "encoder"),), "glue_dir": tmp_path / "glue", "out": tmp_path / "out"}
    reproduce.main(dataclasses.replace(config, columns=("CoLA probe",), seeds=2, probe=probe, **places))
    lines = (tmp_path / "out" / "table.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert rows[0][2:] == ["CoLA probe"]
    for row, title in zip(rows[1:3], ("cls", "mean"), strict=True):
        assert row[:2] == [title, "measured"] and re.match(r"-?\d+\.\d", row[2])


def test_the_architecture_has_the_hidden_states_of_transformers(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers", reason="the reference needs it: pip install '.[parity]'")
    torch = pytest.importorskip("torch", reason="the reference needs torch: pip install '.[parity]'")
    section = TEXT[TEXT.index("### An architecture") :]
    packages = (bert_jax.model.architectures, bert_jax.checkpoints.architectures)
    for code, package in zip(re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)[:2], packages, strict=True):
        place = tmp_path / code.splitlines()[0].removeprefix("# ")
        place.parent.mkdir(parents=True)
        place.write_text(code, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(place.parent)])
    (schema,) = importlib.import_module("bert_jax.checkpoints.architectures.data2vec").schemas
    monkeypatch.setitem(SCHEMAS, schema.model_type, schema)
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    config = transformers.Data2VecTextConfig(vocab_size=30, max_position_embeddings=20, initializer_range=0.3, **sizes)
    model = transformers.Data2VecTextForMaskedLM(config).eval()
    model.save_pretrained(tmp_path / "model")
    checkpoint, ids = load_checkpoint(tmp_path / "model"), np.arange(3, 11, dtype=np.int32)[None]
    tokens = Tokens(ids, np.zeros_like(ids), ids > 0, ids < 0)
    states = Encoder(checkpoint.config).apply({"params": checkpoint.encoder}, tokens)
    with torch.no_grad():
        expected = model(torch.tensor(ids).long(), output_hidden_states=True).hidden_states
    for ours, theirs in zip(states, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-4)
