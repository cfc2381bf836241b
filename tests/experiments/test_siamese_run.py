"""Sentence vectors from the command line: rows, models that say what they were trained on, and what a mistake gets."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from bert_jax.checkpoints.huggingface import Checkpoint
from bert_jax.checkpoints.provenance import tunings
from bert_jax.config import BertConfig, ReadoutConfig, SiameseConfig
from bert_jax.errors import InputError
from bert_jax.model.bert import SentenceEncoder
from bert_jax.pretrained import Pretrained, load
from bert_jax.study import regimes
from bert_jax.study.pair_sources import PairSource, read_training
from bert_jax.study.store import read_predictions, read_rows
from bert_jax.tasks.synthetic import ROWS
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.train.siamese import Trained
from bert_jax.types import Tokens
from experiments import siamese
from experiments.settings.sentence_pairs import SiameseRun

# The synthetic language has words that the small encoder here does not know.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*tokens are \[UNK\]:UserWarning")

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog red blue sees runs sleeps very and".split()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A model directory whose weights are all equal: nothing here is computed with them."""

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "words.txt").write_text("".join(f"{word}\n" for word in WORDS))
    config = BertConfig(len(WORDS), 16, 1, 2, 32, 32)
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    shapes = jax.eval_shape(SentenceEncoder(config, ReadoutConfig()).init, jax.random.key(0), tokens)["params"]
    params = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), shapes)["encoder"]
    Pretrained(Checkpoint(config, params), WordPiece.from_vocabulary(folder / "words.txt")).save(folder / "model")
    return folder / "model"


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """The training itself is tested elsewhere: here it leaves the weights. Gives the seeds that were run."""
    seeds = []

    def train(pretrained, data, objective, readout, config, trials, layout, on_step):
        seeds.extend(trial.seed for trial in trials)
        cosines = {name: np.linspace(0, 1, len(e.labels)).astype(np.float32) for name, e in data.evaluations.items()}
        return [Trained(cosines, {"encoder": pretrained.checkpoint.encoder}) for _ in trials]

    monkeypatch.setattr(regimes.siamese, "train_pairs_together", train)
    return seeds


def config(encoder, out, **changes):
    base = SiameseRun(
        objective="nli",
        train=("synthetic",),
        encoder=str(encoder),
        out=out,
        seeds=2,
        train_rows=40,
        siamese=SiameseConfig(max_length=16),
    )
    return dataclasses.replace(base, **changes)


def test_every_readout_and_seed_has_a_row_and_a_report(encoder, tmp_path):
    siamese.main(config(encoder, tmp_path / "out"))
    rows = read_rows(tmp_path / "out")
    assert {(row.readout, row.seed) for row in rows} == {(f"last/{p}/none", s) for p in ("cls", "mean") for s in (0, 1)}
    for row in rows:
        assert row.regime == "siamese" and row.metric == "spearman" and row.train_examples == 40
        predictions, labels = read_predictions(tmp_path / "out", row)["validation"]
        assert len(predictions) == len(labels) == ROWS["validation"] and "nli on synthetic" in row.protocol
    assert "cls" in (tmp_path / "out" / "table.md").read_text()


def test_models_are_saved_when_asked_even_afterwards_and_say_what_they_were_trained_on(encoder, tmp_path, trained):
    out = tmp_path / "out"
    siamese.main(config(encoder, out, poolings=("mean",)))
    assert trained == [0, 1] and not (out / "models").exists()
    siamese.main(config(encoder, out, poolings=("mean",), save=True))
    assert trained == [0, 1, 0, 1] and len(read_rows(out)) == 2
    models = sorted(path.name for path in (out / "models").iterdir())
    assert models == ["last-mean-none-seed0", "last-mean-none-seed1"]
    model = out / "models" / models[0]
    assert tunings(model) == ["nli on synthetic"] and load(model).config.num_layers == 1
    siamese.main(config(encoder, out, poolings=("mean",), save=True))
    assert trained == [0, 1, 0, 1], "nothing is run again"
    again = config(model, tmp_path / "sts", objective="sts", poolings=("mean",), seeds=1, save=True)
    siamese.main(again)
    assert tunings(tmp_path / "sts" / "models" / models[0]) == ["nli on synthetic", "sts on synthetic"]


def test_a_folder_of_other_settings_is_refused(encoder, tmp_path):
    siamese.main(config(encoder, tmp_path / "out"))
    for changes in ({"train_rows": 39}, {"siamese": SiameseConfig(max_length=16, epochs=2)}):
        with pytest.raises(InputError, match="holds another experiment"):
            siamese.main(config(encoder, tmp_path / "out", **changes))


def source(config):
    return PairSource(config.objective, config.train, config.sts_dir, config.glue_dir, config.train_rows)


def write_pairs(path):
    path.write_text(json.dumps({"premise": "the cat", "hypothesis": "a dog", "label": 0}) + "\n")
    return str(path)


def test_sentences_of_simcse_come_once_each_from_any_source(encoder, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("the cat\n\nthe dog\nthe cat\n")
    run = config(encoder, tmp_path, objective="simcse", train=(str(path), write_pairs(tmp_path / "x.jsonl")))
    split, classes = read_training(source(run))
    assert split.a == ["the cat", "the dog", "a dog"] and split.b is None and classes == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": ("none.jsonl",)}, "--train none.jsonl: no such file"),
        ({"objective": "sts", "train": ("stsb",)}, "--train stsb needs --sts-dir"),
        ({"objective": "sts", "train": ("mnli",)}, "learns from scores, of stsb or synthetic"),
        ({"poolings": ("maen",)}, "unknown pooling 'maen'. Did you mean 'mean'"),
        ({"poolings": ("attention",), "save": True}, "which a model directory cannot hold"),
        ({"siamese": SiameseConfig(training_projection="mpl")}, "unknown projection 'mpl'. Did you mean 'mlp'"),
    ],
)
def test_mistakes_are_explained_before_anything_is_trained(encoder, tmp_path, trained, changes, message):
    with pytest.raises(InputError, match=message):
        siamese.main(config(encoder, tmp_path / "out", **changes))
    assert not trained


def test_classes_that_differ_are_not_joined(encoder, tmp_path):
    run = config(encoder, tmp_path, train=("synthetic", write_pairs(tmp_path / "x.jsonl")))
    with pytest.raises(InputError, match="their classes differ"):
        read_training(source(run))


@pytest.mark.parametrize(("field", "message"), [("seeds", "at least one seed"), ("train_rows", "at least one row")])
def test_numbers_that_cannot_be_are_refused(encoder, tmp_path, field, message):
    with pytest.raises(InputError, match=message):
        config(encoder, tmp_path, **{field: 0})
