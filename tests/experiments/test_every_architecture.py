"""Every architecture through everything that users do with an encoder: embed, regimes, saving and both exports."""

from pathlib import Path

import numpy as np
import pytest
from subwords import write_tokenizer
from worlds import WORDS, write_glue

import bert_jax
from bert_jax.checkpoints.architectures import SCHEMAS
from bert_jax.config import ReadoutConfig
from bert_jax.study.store import read_predictions, read_rows
from experiments import ablate_pooling, convert, finetune
from experiments.cli import named, run
from experiments.settings.ablation import Ablation, FinetuneRun

transformers = pytest.importorskip("transformers", reason="encoders are made by it: pip install '.[parity]'")

TEXTS = ["the cat sees a dog", "", "runs", "very very red and blue dog sleeps"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
MORE = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "electra": SIZES | {"embedding_size": 12},
    "albert": SIZES | {"embedding_size": 12},
    "modernbert": SIZES | {"local_attention": 4, "bos_token_id": 2, "eos_token_id": 3},
}
SMALL = "--finetune.epochs 1 --finetune.batch-size 8 --finetune.num-buckets 1 --finetune.max-length 32".split()
KINDS = [kind for kind in SCHEMAS if kind != "bert"]
EVERY = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glue")
    write_glue(folder)
    return folder


def write(folder: Path, kind: str) -> Path:
    """A directory as transformers writes it, with random weights and a tokenizer of the right kind."""
    folder.mkdir()
    if kind in ("distilbert", "electra"):
        words = [*WORDS, "##s"]
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
        size = len(words)
    else:
        size = write_tokenizer(folder, kind)
    pad = 1 if SCHEMAS[kind].prefix == "roberta." else 0
    settings = {"vocab_size": size, "max_position_embeddings": 40, "pad_token_id": pad, "initializer_range": 0.3}
    config = transformers.AutoConfig.for_model(kind, **settings, **MORE.get(kind, SIZES))
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder


@EVERY
def test_vectors_are_the_same_after_saving_and_in_sentence_transformers(kind: str, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers", reason="needs pip install '.[parity]'")
    bert = bert_jax.load(write(tmp_path / "model", kind))
    assert kind in SCHEMAS and bert.checkpoint.schema.model_type == kind
    bert.save(tmp_path / "saved")
    saved = bert_jax.load(tmp_path / "saved")
    for number, (pooling, layers) in enumerate([("cls + mean", "last"), ("max", "avg(1,-1)"), ("mean", "1")]):
        expected = bert.embed(TEXTS, pooling, layers)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_array_equal(saved.embed(TEXTS, pooling, layers), expected)
        folder = tmp_path / str(number)
        flags = ["--to", "sentence-transformers", "--pooling", pooling, "--layers", layers]
        run(convert.main, convert.ConvertConfig, [str(tmp_path / "model"), str(folder), *flags])
        theirs = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS, show_progress_bar=False)
        np.testing.assert_allclose(theirs, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(bert_jax.load(folder).embed(TEXTS), expected, rtol=0, atol=1e-5)


@EVERY
def test_the_three_regimes(kind: str, glue: Path, tmp_path: Path) -> None:
    """Pairs are read together in fine-tuning, apart in the probe and without training."""
    flags = ["glue", "--encoder", write(tmp_path / "model", kind), "--glue-dir", glue, "--tasks", "stsb", "--seeds", 1]
    flags += ["--regimes", "finetune", "probe", "sts", "--poolings", "cls", "--out", tmp_path / "out"]
    flags += [
        "--finetune.epochs",
        1,
        "--finetune.batch-size",
        8,
        "--finetune.num-buckets",
        1,
        "--finetune.max-length",
        40,
    ]
    run(ablate_pooling.main, named(Ablation), list(map(str, [*flags, *SMALL])))
    rows = read_rows(tmp_path / "out")
    assert {row.regime for row in rows} == {"finetune", "probe", "sts"} and all(row.ok for row in rows)


@EVERY
def test_a_classifier_of_its_own_form_opens_in_transformers(kind: str, glue: Path, tmp_path: Path) -> None:
    """The readout of its own class is kept as that class, with the same predictions."""
    import torch

    model = write(tmp_path / "model", kind)
    readout = SCHEMAS[kind].readout(bert_jax.load(model).config)
    projection = "mlp" if readout.projection == "tanh" else readout.projection
    flags = ["--encoder", model, "--glue-dir", glue, "--task", "mrpc", "--out", tmp_path / "out", "--pooling", "cls"]
    flags += [
        "--projection",
        projection,
        "--finetune.epochs",
        1,
        "--finetune.batch-size",
        8,
        "--finetune.num-buckets",
        1,
    ]
    run(finetune.main, FinetuneRun, list(map(str, [*flags, "--finetune.max-length", 40])))
    (row,) = read_rows(tmp_path / "out")
    folder = tmp_path / "out" / "model"
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    lines = [line.split("\t") for line in (glue / "MRPC/dev.tsv").read_text().splitlines()[1:]]
    # A unigram cuts some pairs into more tokens than the encoder has positions.
    inputs = tokenizer([x[3] for x in lines], [x[4] for x in lines], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        logits = theirs(**inputs).logits.numpy()
    np.testing.assert_array_equal(logits.argmax(-1), read_predictions(tmp_path / "out", row)["validation"][0])
    assert bert_jax.load(folder).checkpoint.heads == ("pooler", "classifier")


def test_the_trained_pooler_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    roberta, electra = (bert_jax.load(write(tmp_path / kind, kind)) for kind in ("roberta", "electra"))
    assert roberta.embed(TEXTS, "cls", projection="tanh").shape == (4, 16)
    with pytest.raises(bert_jax.InputError, match=r"a classifier of electra has mlp\(activation='gelu'\) in its place"):
        electra.embed(TEXTS, "cls", projection="tanh")
    assert SCHEMAS["modernbert"].readout(electra.config) == ReadoutConfig("last", "cls", "head")
