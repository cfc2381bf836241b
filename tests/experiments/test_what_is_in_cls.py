"""Five claims about [CLS] from one command line, for two small encoders, one of them with a head for pairs."""

import json
import shutil

import jax
import numpy as np
import pytest
from worlds import WORDS, write_encoder, write_glue, write_one_segment

from bert_jax.analysis.claims import frames
from bert_jax.checkpoints.huggingface import Checkpoint
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.model.bert import BertForPretraining
from bert_jax.pretrained import Pretrained
from bert_jax.study import grid
from bert_jax.study.store import read_predictions, read_rows
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.types import Tokens
from experiments import encoders, what_is_in_cls
from experiments.cli import named, run
from experiments.settings.claims import ClsRun

# Pairs are made of the synthetic language, of which the small encoders here know few words.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*tokens are \[UNK\]:UserWarning")

SMALL = (
    "--tasks glue/cola glue/stsb --positions cls mean last_token --seeds 1 --num-pairs 40 --words 12 --texts 6 "
    "--folds 3 --batch-size 8 --finetune.epochs 1 --finetune.batch-size 8 --finetune.eval-batch-size 8 "
    "--finetune.num-buckets 1"
).split()
FROZEN = "--parts layers attention knockout cosine pairs".split()
TUNED = "--parts finetune --tasks glue/cola --positions cls mean".split()
FIGURES = "a-layers a-attention a-knockout b-positions b-layers c-pairs d-single e-averages".split()


def write_deep(folder):
    """Two layers, with the heads of a pretraining."""
    config = BertConfig(len(WORDS), 16, 2, 2, 32, 32, initializer_range=0.2)
    model = BertForPretraining(config, ReadoutConfig(projection="tanh"))
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    params = jax.jit(lambda key: model.init(key, tokens, np.ones((1, 1), np.int32))["params"])(jax.random.key(3))
    (folder.parent / "words.txt").write_text("".join(f"{word}\n" for word in WORDS))
    pooler = params["reader"]["projection"]["dense"]
    checkpoint = Checkpoint(config, params["encoder"], pooler, params["mlm"], params["nsp"])
    Pretrained(checkpoint, WordPiece.from_vocabulary(folder.parent / "words.txt")).save(folder)


def start(world, out, *more, encoders=("deep", "flat")):
    line = ["--encoders", *(f"{name}={world / name}" for name in encoders), "--glue-dir", world / "glue", "--out", out]
    run(what_is_in_cls.main, named(ClsRun), ["cls-real", *map(str, line), *SMALL, *more])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cls")
    write_glue(folder / "glue")
    write_deep(folder / "deep")
    write_encoder(folder / "flat")
    return folder


@pytest.fixture(scope="module")
def out(world):
    start(world, world / "out", *FROZEN)
    start(world, world / "out", *TUNED, encoders=("deep",))
    return world / "out"


def test_there_is_a_figure_and_a_table_for_every_claim(out):
    page = (out / "claims.md").read_text()
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in page
    assert all(f"## ({letter})" in page for letter in "abcde")


def test_the_embedding_of_cls_says_nothing_and_a_layer_above_may(out):
    frame = frames.by_layer(out)
    assert set(zip(frame["encoder"], frame["layer"], strict=True)) == {
        ("deep", 0), ("deep", 1), ("deep", 2), ("flat", 0), ("flat", 1),
    }  # fmt: skip
    bottom = frame[(frame["layer"] == 0) & (frame["pooling"] == "cls") & (frame["task"] == "cola")]
    assert len(bottom) == 2 and (bottom["mean"] == bottom["majority"]).all() and (bottom["degenerate"] == 1).all()


def test_blind_from_the_first_block_on_cls_is_at_the_baseline(out):
    frame = frames.knocked_out(out)
    deep = frame[(frame["encoder"] == "deep") & (frame["task"] == "cola") & (frame["pooling"] == "cls")]
    assert list(zip(deep["first"], deep["last"], strict=True)) == [(0, 0), (1, 2), (2, 2), (1, 1)]
    blind = deep[deep["first"] + deep["last"] == 3].iloc[0]
    assert blind["mean"] == blind["majority"] and blind["degenerate"] == 1
    whole = deep[deep["first"] == 0].iloc[0]
    assert blind["difference"] == pytest.approx(blind["mean"] - whole["mean"])
    # Nothing taken away is the probe of the last layer.
    layers = frames.by_layer(out)
    same = (layers["encoder"] == "deep") & (layers["task"] == "cola") & (layers["pooling"] == "cls")
    assert layers[same & (layers["layer"] == 2)]["mean"].item() == whole["mean"]


def test_attention_is_kept_with_shares_that_sum_to_one(out):
    found = frames.attention(out)
    assert [(one["encoder"], one["title"]) for one in found] == [
        (encoder, title) for encoder in ("deep", "flat") for title in ("CoLA", "STS-B")
    ]
    for one in found:
        np.testing.assert_allclose(one["shares"].sum(-1), 1, atol=1e-5)
        assert one["texts"] == 6 and (one["evenness"] > 0).all() and (one["evenness"] <= 1).all()


def test_every_position_is_compared_with_cls_before_and_after_fine_tuning(out):
    frame = frames.positions(out)
    cola = frame[(frame["task"] == "cola") & (frame["encoder"] == "deep")]
    assert list(zip(cola["regime"], cola["pooling"], strict=True)) == [
        ("probe", "cls"), ("probe", "mean"), ("probe", "last_token"), ("finetune", "cls"), ("finetune", "mean"),
    ]  # fmt: skip
    reference = cola["pooling"] == "cls"
    assert cola[reference]["difference"].isna().all() and cola[~reference]["difference"].notna().all()
    for _, here in cola.groupby("regime"):
        gaps = here["mean"] - here["mean"].iloc[0]
        np.testing.assert_allclose(here["difference"].iloc[1:], gaps.iloc[1:])
    judged = frame[frame["p_adjusted"].notna()]  # where a side learned nothing, nothing is judged
    assert (judged["p_adjusted"] >= judged["p"]).all() and not judged.empty


def test_only_an_encoder_with_a_head_says_whether_b_follows(out):
    heads = frames.heads(out)
    assert list(zip(heads["encoder"], heads["pooling"], strict=True)) == [("deep", "cls"), ("deep", "mean")]
    rows = [row for row in read_rows(out / "deep" / "pairs") if row.regime == "head"]
    for row, line in zip(rows, heads.itertuples(), strict=True):
        predictions, labels = read_predictions(out / "deep" / "pairs", row)["heldout"]
        assert line.mean == pytest.approx(100 * np.mean(predictions == labels))
        counts = row.details["probability"]
        assert sum(counts["follows"]) == labels.sum() and sum(counts["random"]) == (labels == 0).sum()
        assert sum(counts["follows"][5:]) == predictions[labels == 1].sum()
    probes = frames.by_layer(out, "pairs")
    assert set(probes["encoder"]) == {"deep", "flat"}
    assert all("jointly" in row.protocol for row in read_rows(out / "flat" / "pairs"))


def test_encoders_are_compared_on_single_sentences_only(out):
    frame = frames.single_sentences(out)
    assert set(frame["task"]) == {"cola"}
    frame = frame[frame["regime"] == "probe"]
    flat, deep = (frame[frame["encoder"] == name].reset_index(drop=True) for name in ("flat", "deep"))
    assert deep["difference"].isna().all()
    np.testing.assert_allclose(flat["difference"], flat["mean"] - deep["mean"])


def test_whether_b_follows_a_is_compared_between_encoders_at_their_last_layers(out):
    frame = frames.pairs(out)
    probes = frames.by_layer(out, "pairs")
    tops = probes[probes["layer"] == probes.groupby("encoder")["layer"].transform("max")].set_index(
        ["encoder", "pooling"]
    )
    assert set(frame["task"]) == {"follows"} and set(frame["regime"]) == {"probe"}
    for line in frame[frame["encoder"] == "flat"].itertuples():
        assert line.mean == pytest.approx(tops.loc[("flat", line.pooling), "mean"])
        assert line.difference == pytest.approx(line.mean - tops.loc[("deep", line.pooling), "mean"])
    averages = frames.pair_averages(out).set_index("encoder")["difference"]
    for name in ("deep", "flat"):
        assert averages[name] == pytest.approx(tops.loc[(name, "mean"), "mean"] - tops.loc[(name, "cls"), "mean"])
    assert "## (c) Encoder beside encoder" in (out / "claims.md").read_text()


def test_the_mean_is_compared_in_three_regimes_with_what_a_task_needs(out):
    frame = frames.averages(out)
    deep = frame[frame["encoder"] == "deep"]
    assert list(zip(deep["task"], deep["regime"], strict=True)) == [
        ("cola", "probe"), ("stsb", "probe"), ("cola", "finetune"), ("stsb", "sts"),
    ]  # fmt: skip
    assert deep["needs"].map(bool).all()


def test_the_same_command_runs_nothing_again_and_a_third_encoder_joins(out, world, monkeypatch):
    before = {path: path.read_bytes() for path in out.rglob("results.jsonl")}
    write_encoder(world / "third")
    with monkeypatch.context() as patch:
        patch.setattr(grid, "load", lambda folder: pytest.fail("an encoder was loaded again"))
        start(world, out, "--parts", "layers", "attention", "knockout", "cosine")
    assert {path: path.read_bytes() for path in before} == before
    start(world, out, "--parts", "layers", encoders=("third",))
    assert json.loads((out / "about.json").read_text())["encoders"] == ["deep", "flat", "third"]
    assert {path: path.read_bytes() for path in before} == before
    assert set(frames.by_layer(out)["encoder"]) == {"deep", "flat", "third"}


def test_several_pretrainings_of_a_kind_are_one_encoder_and_what_intervals_are_over(world, tmp_path):
    places = {"deep#0": world / "deep", "deep#1": tmp_path / "a" / "deep", "flat#0": world / "flat"}
    places |= {"flat#1": tmp_path / "b" / "flat"}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    write_deep(places["deep#1"])
    write_encoder(places["flat#1"])
    flags = ["--parts", "layers", "--tasks", "glue/cola", "--positions", "cls", "mean"]
    out = tmp_path / "out"
    named_places = [f"{name}={place}" for name, place in places.items()]
    line = ["--encoders", *named_places, "--glue-dir", str(world / "glue"), "--out", str(out)]
    run(what_is_in_cls.main, named(ClsRun), ["cls-real", *line, *SMALL, *flags])
    frame = frames.positions(out)
    assert set(frame["encoder"]) == {"deep", "flat"} and set(frame["over"]) == {"pretrainings"}
    single = frames.single_sentences(out)
    flat = single[single["encoder"] == "flat"]
    assert set(flat["difference_over"]) == {"pretrainings"} and set(flat["pairs"]) == {2}
    rows = [read_rows(out / name / "layers") for name in places]
    means = [100 * row.score("validation") for of in rows[2:] for row in of if row.readout == "1/cls/none"]
    assert flat[flat["pooling"] == "cls"]["mean"].item() == pytest.approx(np.mean(means)) and len(means) == 2
    page = (out / "claims.md").read_text()
    assert "over pretrainings of a kind" in page and "between these two" not in page


def test_own_encoders_of_several_pretrainings_have_seeds_and_names_of_their_own(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(encoders, "pretrain_encoder", lambda run: made.append(run))
    config = ClsRun(tasks=("synthetic/keyword",), out=tmp_path, pretrain_seeds=2)
    assert config.own_encoders() == ["none#0", "none#1", "nsp#0", "nsp#1"]
    for name in config.own_encoders():
        what_is_in_cls._pretrained(config, name)
    assert [(run.pretrain.seed, run.pretrain.objective.pairs == "none") for run in made] == [
        (0, True), (1, True), (0, False), (1, False),
    ]  # fmt: skip
    assert len({run.out for run in made}) == 4


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--tasks", "cola"], "write SUITE/TASK"),
        (["--tasks", "glue/colla"], "Did you mean 'cola'"),
        (["--tasks", "glue/mrpc", "senteval/mrpc"], "two tasks with the same name"),
        (["--positions", "mean", "cls"], "must begin with cls"),
        (["--encoders", "nowhere"], "NAME=DIRECTORY"),
        (["--encoders", "a=x", "a=y"], "the same name twice"),
        (["--encoders", "a=/nowhere/at/all"], "no model directory"),
        (["--seeds", "0"], "--seeds 0"),
        (["--batch-size", "0"], "--batch-size"),
        (["--parts", "pairs", "--words", "1"], "--words"),
    ],
)
def test_mistakes_are_told_in_a_line(flags, says, world, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        start(world, tmp_path / "out", *flags)
    assert stopped.value.code == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("parts", "task"), [("layers pairs", "Follows"), ("layers finetune", "STS-B"), ("layers attention", "STS-B")]
)
def test_pairs_for_an_encoder_of_one_segment_are_refused_before_anything_runs(parts, task, world, tmp_path, capsys):
    write_one_segment(world / "flat", tmp_path / "flat")
    (tmp_path / "glue").symlink_to(world / "glue")
    with pytest.raises(SystemExit):
        start(tmp_path, tmp_path / "out", "--parts", *parts.split(), encoders=("flat",))
    assert f"error: {task}: this encoder has one segment" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_attention_to_other_texts_is_not_kept_in_the_same_folder(world, tmp_path, capsys):
    shutil.copytree(world / "glue", tmp_path / "glue")
    (tmp_path / "flat").symlink_to(world / "flat")
    flags = ["--parts", "attention", "--tasks", "glue/cola"]
    start(tmp_path, tmp_path / "out", *flags, encoders=("flat",))
    start(tmp_path, tmp_path / "out", *flags, encoders=("flat",))
    path = tmp_path / "glue" / "CoLA" / "dev.tsv"
    path.write_text(path.read_text().replace("the", "a", 1))
    what_is_in_cls._read.cache_clear()
    with pytest.raises(SystemExit):
        start(tmp_path, tmp_path / "out", *flags, encoders=("flat",))
    assert "cola.json is of other texts of CoLA; use another --out" in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match="is this a folder of what_is_in_cls"):
        frames.read_about(tmp_path)


def test_the_scale_is_read_with_and_without_an_equals_sign(monkeypatch):
    taken = []
    monkeypatch.setattr(what_is_in_cls, "run", lambda main, configs, args: taken.append(args))
    for words in (["--scale", "mini", "--seeds", "2"], ["--scale=mini", "--seeds", "2"]):
        what_is_in_cls.start(words)
    assert taken[0] == taken[1] and taken[0][1:] == ["--seeds", "2"]
