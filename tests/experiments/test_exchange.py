"""Fine-tune, keep, convert and embed from the command line; other libraries answer the same; mistakes are explained."""

import errno
import gzip
import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import bert_jax
from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.model.bert import BertForPretraining
from bert_jax.pretrained import Pretrained, load
from bert_jax.study import regimes
from bert_jax.study.store import read_predictions, read_rows
from bert_jax.tokenizers.tokenizer import WordPiece, train_sentencepiece
from bert_jax.types import Tokens
from experiments import ablate_pooling, convert, embed, finetune
from experiments.cli import named, run
from experiments.settings.ablation import Ablation, FinetuneRun

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog red blue sees runs sleeps very and".split()
SMALL = "--finetune.epochs 1 --finetune.batch-size 8 --finetune.eval-batch-size 8 --finetune.num-buckets 1".split()
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS[5:], n % 9)) for n in range(40)]


def write_encoder(folder, tokenizer, vocab_size):
    config = BertConfig(vocab_size, 16, 2, 2, 32, 32, initializer_range=0.2)
    model = BertForPretraining(config, ReadoutConfig(projection="tanh"))
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    params = jax.jit(lambda key: model.init(key, tokens, np.ones((1, 1), np.int32))["params"])(jax.random.key(7))
    pooler = params["reader"]["projection"]["dense"]
    Pretrained(Checkpoint(config, params["encoder"], pooler, params["mlm"], params["nsp"]), tokenizer).save(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with two encoders, CoLA and MRPC."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "words").write_text("".join(f"{word}\n" for word in WORDS))
    write_encoder(folder / "encoder", WordPiece.from_vocabulary(folder / "words"), len(WORDS))
    pieces = train_sentencepiece([text for text in TEXTS if text], 40, "bpe")
    write_encoder(folder / "pieces", pieces, 40)
    for name, head in (("CoLA", ""), ("MRPC", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n")):
        (folder / "glue" / name).mkdir(parents=True)
        for file, rows, end in (("train", 16, ""), ("dev", 12, " very very")):
            texts = [(TEXTS[n + 1] or "a") + end for n in range(rows)]
            lines = [
                f"x\t{n % 2}\t\t{t}" if name == "CoLA" else f"{n % 2}\t1\t2\t{t}\tthe dog" for n, t in enumerate(texts)
            ]
            (folder / "glue" / name / f"{file}.tsv").write_text(head + "".join(f"{line}\n" for line in lines))
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    return folder


def test_case_is_said_and_can_be_asked_for(world, tmp_path, capsys):
    folder = tmp_path / "encoder"
    shutil.copytree(world / "encoder", folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in [*WORDS[:-2], "The", "##s"]))
    line = [str(folder), str(tmp_path / "cased"), "--to", "huggingface"]
    with pytest.warns(UserWarning, match="vocab.txt: taken as cased, because of 'The'; transformers lowercases texts"):
        run(convert.main, convert.ConvertConfig, line)
    assert f"{folder}: cased (vocab.txt has 'The' and no file says do_lower_case)\n" in capsys.readouterr().err
    assert load(tmp_path / "cased").tokenizer.pieces(["The THE"]) == [[len(WORDS) - 2, 1]]
    run(convert.main, convert.ConvertConfig, [line[0], str(tmp_path / "lower"), *line[2:], "--uncased"])
    assert f"{folder}: lowercased (as asked)\n" in capsys.readouterr().err
    assert load(tmp_path / "lower").tokenizer.pieces(["The THE"]) == [[5, 5]]
    assert "lowercased (do_lower_case of tokenizer_config.json)" in repr(load(tmp_path / "lower"))
    assert "lowercased (as asked)" in repr(load(tmp_path / "cased", cased=False))
    both = fails(capsys, convert.main, convert.ConvertConfig, *line, "--cased", "--uncased")
    assert "--cased and --uncased exclude each other" in both


def fails(capsys, main, config, *args):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setenv("COLUMNS", "300")
        run(main, config, list(map(str, args)))
    error = " ".join(capsys.readouterr().err.split())
    assert exit_.value.code == 2 and "Traceback" not in error
    return error


def tune(world, out, task="mrpc", *args):
    flags = ("--encoder", world / "encoder", "--glue-dir", world / "glue", "--task", task, "--out", out, *SMALL, *args)
    run(finetune.main, FinetuneRun, list(map(str, flags)))
    (row,) = read_rows(out)
    return row


def metadata(folder):
    """The card's front matter, which must be YAML that the hub takes."""
    from huggingface_hub import ModelCard

    return ModelCard.load(folder / "README.md")


# Fine-tuned models -----------------------------------------------------------------------------------------------


def test_bert_s_own_readout_goes_to_transformers_and_predicts_the_same(world, tmp_path, capsys):
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    torch = pytest.importorskip("torch", reason="needs torch: pip install '.[parity]'")
    row = tune(world, tmp_path, "mrpc", "--seed", 3, "--finetune.max-length", 12)
    assert "it opens in transformers" in capsys.readouterr().out and row.seed == 3
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.model_max_length == 12 and model.config.num_labels == 2
    a, b = zip(
        *(line.split("\t")[3:] for line in (world / "glue/MRPC/dev.tsv").read_text().splitlines()[1:]), strict=True
    )
    with torch.no_grad():
        logits = model(**tokenizer(list(a), list(b), padding=True, truncation=True, return_tensors="pt")).logits
    np.testing.assert_array_equal(logits.argmax(-1), read_predictions(tmp_path, row)["validation"][0])
    card = metadata(tmp_path / "model")
    assert card.data.pipeline_tag == "text-classification"
    assert {result.metric_type for result in card.data.eval_results} == set(row.metrics["validation"])
    assert all(word in card.text for word in ("MRPC", "learning_rate", "seed 3", "16 training examples"))


def test_every_run_of_an_ablation_keeps_its_model(world, tmp_path, capsys):
    flags = ["glue", "--encoder", world / "encoder", "--glue-dir", world / "glue", "--tasks", "cola", "--seeds", 1]
    flags = list(map(str, [*flags, "--poolings", "mean", "cls+max", "--out", tmp_path, *SMALL]))
    run(ablate_pooling.main, named(Ablation), flags)
    before = (tmp_path / "results.jsonl").read_bytes()
    assert not (tmp_path / "models").exists()
    run(ablate_pooling.main, named(Ablation), [*flags, "--save-models"])
    assert (tmp_path / "results.jsonl").read_bytes() == before, "a row is written once"
    rows = read_rows(tmp_path)
    assert {path.name for path in (tmp_path / "models").iterdir()} == {row.id for row in rows}
    library = pytest.importorskip("sentence_transformers", reason="needs pip install '.[parity]'")
    texts = [line.split("\t")[3] for line in (world / "glue/CoLA/dev.tsv").read_text().splitlines()]
    for row in rows:
        folder = tmp_path / "models" / row.id
        logits = library.SentenceTransformer(str(folder), device="cpu").encode(texts, show_progress_bar=False)
        np.testing.assert_array_equal(logits.argmax(-1), read_predictions(tmp_path, row)["validation"][0])
        assert metadata(folder).data.library_name == "sentence-transformers"
    kept = (tmp_path / "models" / rows[0].id / "model.safetensors").stat().st_mtime_ns
    run(ablate_pooling.main, named(Ablation), [*flags, "--save-models"])
    assert (tmp_path / "models" / rows[0].id / "model.safetensors").stat().st_mtime_ns == kept


def test_a_readout_that_cannot_be_kept_is_refused_before_training(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(regimes.finetune, "finetune_together", lambda *args: pytest.fail("training began"))
    flags = ("--encoder", world / "encoder", "--glue-dir", world / "glue", "--task", "cola", "--out", tmp_path / "x")
    error = fails(capsys, finetune.main, FinetuneRun, *flags, "--pooling", "attention")
    assert "pooling attention cannot be saved" in error and not (tmp_path / "x").exists()
    assert "unknown task 'colla'" in fails(capsys, finetune.main, FinetuneRun, *flags, "--task", "colla")
    assert "unknown task 'trec'" in fails(capsys, finetune.main, FinetuneRun, *flags, "--task", "trec")


# Convert ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["encoder", "pieces"])
def test_there_and_back_is_the_same_to_the_bit(encoder, world, tmp_path):
    run(convert.main, convert.ConvertConfig, [str(world / encoder), str(tmp_path / "one"), "--to", "huggingface"])
    one, two = bert_jax.load(world / encoder), bert_jax.load(tmp_path / "one")
    assert one.config == two.config and one.checkpoint.nsp is not None
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y, strict=True), one.checkpoint[1:], two.checkpoint[1:])
    assert one.tokenizer.pieces(TEXTS) == two.tokenizer.pieces(TEXTS)
    card = metadata(tmp_path / "one")
    assert card.data.pipeline_tag == "fill-mask" and f"Converted from {encoder} by bert_jax" in card.text


@pytest.mark.parametrize("encoder", ["encoder", "pieces"])
def test_sentence_transformers_gives_our_vectors(encoder, world, tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="needs pip install '.[parity]'")
    flags = ["--to", "sentence-transformers", "--pooling", "cls+mean", "--max-length", "8", "--pad-vocab-to", "128"]
    run(convert.main, convert.ConvertConfig, [str(world / encoder), str(tmp_path / "st"), *flags])
    theirs = library.SentenceTransformer(str(tmp_path / "st"), device="cpu")
    assert theirs[0].auto_model.config.vocab_size == 128
    expected = bert_jax.load(world / encoder).embed(TEXTS, "cls+mean", max_length=8)
    np.testing.assert_allclose(theirs.encode(TEXTS, show_progress_bar=False), expected, rtol=0, atol=1e-5)
    assert "last/cls+mean/none" in metadata(tmp_path / "st").text


def test_a_real_model_in_sentence_transformers(minilm, tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="needs pip install '.[parity]'")
    texts = ["A man is playing a guitar.", "Nobody came, though everybody had been asked.", "", "naïve café 日本"]
    # One pass over the encoder serves every pooling.
    poolings = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean")
    parts = dict(
        zip(poolings, np.split(bert_jax.load(minilm).embed(texts, "+".join(poolings)), 5, axis=1), strict=True)
    )
    for pooling in (*poolings, "cls+mean"):
        flags = [str(minilm), str(tmp_path / pooling), "--to", "sentence-transformers", "--pooling", pooling]
        run(convert.main, convert.ConvertConfig, flags)
        theirs = library.SentenceTransformer(str(tmp_path / pooling), device="cpu")
        expected = np.concatenate([parts[name] for name in pooling.split("+")], 1)
        np.testing.assert_allclose(theirs.encode(texts, show_progress_bar=False), expected, rtol=0, atol=1e-5)
    assert metadata(tmp_path / "mean").data.license == "apache-2.0", "a licence goes where its model goes"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--to huggingface --pooling mean", "--pooling, --layers and --projection are for --to sentence-transformers"),
        ("--to torch", "--to"),
        ("--to sentence-transformers --pooling gem", "pooling gem cannot be saved"),
        ("--to sentence-transformers --pooling mean+cls", "concatenates as 'cls + mean'; ask for it"),
        ("--to sentence-transformers --layers mix", "layers mix: its weights have not been trained"),
        ("--to sentence-transformers --layers mix(0,1) --pooling cls", "write avg(0,1,...), which a fresh mix"),
        ("--to huggingface --pad-vocab-to 0", "--pad-vocab-to 0: it must be at least 1"),
        ("--to huggingface --max-length 2", "--max-length 2: at least 3 are needed"),
    ],
)
def test_a_conversion_that_cannot_be_is_explained(flags, reason, world, tmp_path, capsys):
    line = (world / "encoder", tmp_path / "dst", *flags.split())
    assert reason in fails(capsys, convert.main, convert.ConvertConfig, *line)
    assert not (tmp_path / "dst").exists()


def test_a_place_that_is_taken_is_refused(world, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = ("--to", "huggingface")
    error = fails(capsys, convert.main, convert.ConvertConfig, world / "encoder", tmp_path, *line)
    assert f"{tmp_path} exists and is not empty: name another" in error
    error = fails(capsys, convert.main, convert.ConvertConfig, world / "encoder", tmp_path / "file", *line)
    assert "exists and is a file" in error
    error = fails(capsys, convert.main, convert.ConvertConfig, world / "encoder", tmp_path / "file" / "x", *line)
    assert f"cannot write to {tmp_path / 'file' / 'x'}: Not a directory; name another folder" in error


# Embed -----------------------------------------------------------------------------------------------------------


def vectors_of(world, out, *args, texts="texts.txt"):
    flags = ("--encoder", world / "encoder", "--input", world / texts, "--out", out, *args)
    run(embed.main, embed.EmbedConfig, list(map(str, flags)))
    return np.load(out)


def test_a_row_for_each_line_in_order(world, tmp_path, capsys):
    expected = bert_jax.load(world / "encoder").embed(TEXTS, "mean")
    found = vectors_of(world, tmp_path / "new" / "v.npy")
    assert capsys.readouterr().out == f"wrote {tmp_path / 'new' / 'v.npy'}: {len(TEXTS)} vectors of 16\n"
    assert found.dtype == np.float32 and list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "v.npy"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    (world / "texts.gz").write_bytes(gzip.compress((world / "texts.txt").read_bytes()))
    np.testing.assert_array_equal(vectors_of(world, tmp_path / "gz.npy", texts="texts.gz"), found)
    (world / "texts.jsonl").write_text("".join(json.dumps({"id": 1, "t": text}) + "\n" for text in TEXTS))
    np.testing.assert_array_equal(vectors_of(world, tmp_path / "j.npy", "--field", "t", texts="texts.jsonl"), found)
    (world / "empty").write_text("")
    assert vectors_of(world, tmp_path / "none.npy", texts="empty").shape == (0, 16)


def test_an_interrupted_run_looks_unfinished_and_goes_on(world, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "_ROWS", 8)
    whole, real, sizes = vectors_of(world, tmp_path / "whole.npy"), embed.Embedder.vectors, []

    def interrupted(self, encodings, first):
        sizes.append(len(encodings))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return real(self, encodings, first)

    monkeypatch.setattr(embed.Embedder, "vectors", interrupted)
    with pytest.raises(SystemExit):
        vectors_of(world, tmp_path / "v.npy")
    assert not (tmp_path / "v.npy").exists()
    assert json.loads((tmp_path / "v.npy.partial.json").read_text())["done"] == 16
    np.testing.assert_array_equal(vectors_of(world, tmp_path / "v.npy"), whole)
    assert sizes[3:] == [8, 8, 8], "what was done is not done again"
    with pytest.raises(SystemExit):
        sizes.clear()
        vectors_of(world, tmp_path / "w.npy")
    other = vectors_of(world, tmp_path / "w.npy", "--pooling", "max")
    assert sum(sizes[3:]) == len(TEXTS) and not np.array_equal(other, whole), "another readout begins anew"


def test_an_array_that_the_disk_has_no_room_for_is_refused_at_once(world, tmp_path, capsys, monkeypatch):
    """Written to bit by bit, its memory would have no place on the disk, and the system would end the process."""

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", refuse)
    place = ("--encoder", world / "encoder", "--input", world / "texts.txt", "--out", tmp_path / "v.npy")
    said = fails(capsys, embed.main, embed.EmbedConfig, *place)
    assert "v.npy: No space left on device; make room, then give the same command again" in said


def test_a_vector_that_is_not_finite_is_not_written(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(embed, "_ROWS", 8)
    shutil.copytree(world / "encoder", tmp_path / "encoder")
    tensors = load_file(tmp_path / "encoder" / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"][WORDS.index("very")] = 3e38
    save_file(tensors, tmp_path / "encoder" / "model.safetensors")
    (tmp_path / "texts").write_text("the dog\n" * 12 + "very red\n" + "the dog\n" * 9)
    line = ("--encoder", tmp_path / "encoder", "--input", tmp_path / "texts", "--out", tmp_path / "v.npy")
    said = fails(capsys, embed.main, embed.EmbedConfig, *line)
    assert "the encoder's output for text 13 is not finite" in said and not (tmp_path / "v.npy").exists()


def test_mistakes_of_embedding_are_explained(world, tmp_path, capsys):
    (tmp_path / "bad").write_bytes(b"ok\nb\xffd\n")
    (tmp_path / "there.npy").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")

    def error(text, out, *args):
        line = ("--encoder", world / "encoder", "--input", text, "--out", tmp_path / out, *args)
        return fails(capsys, embed.main, embed.EmbedConfig, *line)

    texts = world / "texts.txt"
    assert "bad, line 2 is not UTF-8" in error(tmp_path / "bad", "v.npy")
    assert f"there is no file {tmp_path / 'none'}" in error(tmp_path / "none", "v.npy")
    assert "there.npy exists; name another --out, or remove it" in error(texts, "there.npy")
    assert "its name must end in .npy" in error(texts, "v.txt")
    assert "cannot write to" in error(texts, "file/v.npy")
    assert "unknown pooling 'maen'" in error(texts, "v.npy", "--pooling", "maen")
    assert not list(tmp_path.glob("v.*"))
