"""A corpus is the same for any number of workers and interruptions, and holds every document that it should."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bert_jax.corpus import prepare as module
from bert_jax.corpus import vocabulary
from bert_jax.corpus.prepare import TextConfig, prepare, prepare_documents
from bert_jax.corpus.sentences import sentences_of
from bert_jax.corpus.shards import read_corpus, read_manifest
from bert_jax.errors import InputError
from bert_jax.files import PARTIAL
from bert_jax.pretrain_config import VocabConfig
from bert_jax.tokenizers.tokenizer import WordPiece, load_tokenizer, train_sentencepiece

ROOT = Path(__file__).parents[2]
CONFIG = TextConfig(block_megabytes=0.02, heldout=0.2, deduplicate=True, on_bad_text="skip")
VOCAB = VocabConfig(size=40, sentences=500)
WORDS = "the a river house stone small green old walks sleeps sings under over near Anna Ben".split()


def make_texts(count=300, seed=0):
    """Documents of paragraphs; some are empty, some come twice."""
    rng = np.random.default_rng(seed)

    def sentence():
        return " ".join(rng.choice(WORDS, rng.integers(3, 12))).capitalize() + "."

    texts = ["\n".join(" ".join(sentence() for _ in range(3)) for _ in range(rng.integers(1, 6))) for _ in range(count)]
    return [*texts, "formula_1", "<br>", *texts[5:15]]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with two files of documents; one document of the second is not valid UTF-8."""
    folder = tmp_path_factory.mktemp("source")
    texts = make_texts()
    (folder / "a.txt").write_text("\n\n".join(texts[:200]), encoding="utf-8")
    lines = [json.dumps({"text": text}).encode() for text in texts[200:]]
    (folder / "b.jsonl").write_bytes(b"\n".join([*lines, b'{"text": "\xff"}']))
    return folder


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    """Corpus prepared from `source`."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    for progress in prepare([str(source)], out, CONFIG, VOCAB, workers=1):
        assert 0 < progress.done <= progress.total
    assert progress.stage == "shards" and progress.done == progress.total
    return out


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def all_documents(folder):
    """Every document of a corpus as text, its sentences decoded."""
    decode = load_tokenizer(folder).processor.decode
    for split in ("train", "heldout"):
        corpus = read_corpus(folder, split)
        sentences = [corpus.tokens[a:b].tolist() for a, b in zip(corpus.sentences, corpus.sentences[1:], strict=False)]
        for first, last in zip(corpus.documents, corpus.documents[1:], strict=False):
            yield tuple(decode(ids) for ids in sentences[first:last])


def test_every_document_comes_out_once_in_lower_case(prepared):
    expected = [tuple(sentence.lower() for sentence in sentences_of(text)) for text in make_texts()[:300]]
    assert Counter(all_documents(prepared)) == Counter(expected)


def test_the_manifest_says_what_was_made_and_what_was_left_out(source, prepared):
    manifest = read_manifest(prepared)
    assert manifest["dropped"] == {"duplicate": 10, "invalid UTF-8": 1, "no text": 2}
    assert sum(manifest["totals"][split]["documents"] for split in ("train", "heldout")) == 300
    assert 30 < manifest["totals"]["heldout"]["documents"] < 90
    assert manifest["text"]["heldout"] == 0.2 and manifest["vocab"]["size"] == 40
    size = sum(path.stat().st_size for path in source.iterdir())
    assert manifest["inputs"] == {"paths": [str(source)], "files": 2, "bytes": size}
    assert len(manifest["shards"]) > 6
    assert set(files(prepared)) == {
        "manifest.json", "settings.json", "spiece.model", *(row["file"] for row in manifest["arrays"])
    }  # fmt: skip


def test_the_output_does_not_depend_on_the_workers(source, prepared, tmp_path):
    for _ in prepare([str(source)], tmp_path / "out", CONFIG, VOCAB, workers=3):
        pass
    assert files(tmp_path / "out") == files(prepared)


def test_an_interrupted_preparation_goes_on(source, prepared, tmp_path, monkeypatch):
    out = tmp_path / "out"
    for progress in prepare([str(source)], out, CONFIG, VOCAB, workers=1):
        if progress.stage == "shards" and progress.done > progress.total / 2:
            break
    done = {path: path.stat().st_mtime_ns for path in out.glob("train-*")}
    assert done and not (out / "manifest.json").exists()
    (out / "train-00001.arrayrecord.partial").write_bytes(b"half")
    with monkeypatch.context() as patch:
        patch.setattr(module.shards, "finish", lambda folder: None)
        for _ in prepare([str(source)], out, CONFIG, VOCAB, workers=1):
            pass
    assert {path: path.stat().st_mtime_ns for path in done} == done
    (out / "train-tokens.npy").write_bytes(b"of a process that was killed while it joined the shards")
    for _ in prepare([str(source)], out, CONFIG, VOCAB, workers=1):
        pass
    assert files(out) == files(prepared)


def test_killed_at_any_moment_it_goes_on_and_leaves_no_process(source, prepared, tmp_path):
    out = tmp_path / "out"
    code = (
        "import time; from pathlib import Path\n"
        "from bert_jax.pretrain_config import VocabConfig; from bert_jax.corpus.prepare import *\n"
        "if __name__ == '__main__':\n"
        f"    for _ in prepare([{str(source)!r}], Path({str(out)!r}), {CONFIG!r}, {VOCAB!r}, 1):\n"
        "        time.sleep(0.1)"  # so that it is not finished before it is killed
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    command = [sys.executable, str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("part-*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None and list(out.glob("part-*.json")), "it is killed in the middle"
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while _group_lives(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group_lives(process.pid)
    for _ in prepare([str(source)], out, CONFIG, VOCAB, workers=1):
        pass
    assert files(out) == files(prepared)


def test_what_a_killed_process_was_writing_is_removed(source, prepared, tmp_path):
    out = tmp_path / "out"
    out.mkdir()

    for name in ("settings.json", "part-00001.json"):
        (out / f"{name}.{os.getpid()}{PARTIAL}").write_bytes(b"{")  # a killed process removes nothing
    assert len(list(out.iterdir())) == 2
    for _ in prepare([str(source)], out, CONFIG, VOCAB, workers=1):
        pass
    assert files(out) == files(prepared)
    (out / "part-00000.json").touch()
    assert "it is finished" in failure([str(source)], out, CONFIG, VOCAB, 1)
    assert files(out) == files(prepared)


def _group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def failure(*args, **kwargs):
    with pytest.raises(InputError) as error:
        list(prepare(*args, **kwargs))
    return str(error.value)


def test_a_finished_or_another_corpus_is_left_alone(source, prepared, tmp_path):
    before = files(prepared)
    assert "it is finished" in failure([str(source)], prepared, CONFIG, VOCAB, 1)
    other = TextConfig(block_megabytes=0.02, heldout=0.2, on_bad_text="skip")
    assert "text.deduplicate was true and is false" in failure([str(source)], prepared, other, VOCAB, 1)
    path = source / "a.txt"
    assert f'inputs.paths was ["{source}"] and is ["{path}"]' in failure([str(path)], prepared, CONFIG, VOCAB, 1)
    assert files(prepared) == before


def test_the_manifest_says_which_share_of_the_text_can_have_a_next_sentence(prepared, tmp_path):
    manifest = read_manifest(prepared)
    for split in ("train", "heldout"):
        assert manifest["paired_share"][split] == pytest.approx(read_corpus(prepared, split).paired_share, abs=1e-4)
    texts = ["Anna sleeps under the old stone house."] * 3 + ["Ben sings. Anna walks over the river."]
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    list(prepare([str(tmp_path / "a.txt")], tmp_path / "out", TextConfig(heldout=0), VocabConfig(size=28), workers=1))
    manifest = read_manifest(tmp_path / "out")
    assert 0.15 < manifest["paired_share"]["train"] < 0.35 and manifest["paired_share"]["heldout"] is None
    assert manifest["paired_share"]["train"] == pytest.approx(
        read_corpus(tmp_path / "out", "train").paired_share, abs=1e-4
    )


def test_a_folder_begun_before_there_was_a_choice_of_documents_goes_on(prepared):
    settings = json.loads((prepared / "settings.json").read_text())
    assert "documents" not in settings["text"]
    assert module.describe(TextConfig(documents="file"), VOCAB, {})["text"]["documents"] == "file"


def test_nothing_left_to_train_on_is_refused_by_flag(source, tmp_path):
    message = failure([str(source / "a.txt")], tmp_path / "out", TextConfig(heldout=1 - 1e-9), VOCAB, 1)
    assert "--heldout 0.999999999 leaves no text to train on: it holds out all 200 documents" in message
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("inside", [".", "corpus", "a/corpus"])
def test_an_output_inside_the_input_is_refused_before_anything_is_written(tmp_path, inside):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("A text.")
    out = tmp_path / "in" / inside
    message = failure([str(tmp_path / "in")], out, CONFIG, VOCAB, 1)
    assert message.startswith(f"--out {out} is inside --input {tmp_path / 'in'}")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.txt"]
    # A folder beside it whose name begins alike is another one.
    assert list(prepare([str(tmp_path / "in")], tmp_path / "in2", TextConfig(heldout=0), VocabConfig(11), 1))


def test_control_characters_are_left_out(source, tmp_path):
    texts = make_texts(40)
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    (tmp_path / "b.txt").write_text("\n\n".join(text.replace("r", "r\0").replace(" ", " \x01\x9f ") for text in texts))
    made = {}
    for name in "ab":
        list(prepare([str(tmp_path / f"{name}.txt")], tmp_path / name, TextConfig(heldout=0), VOCAB, workers=1))
        made[name] = {file: content for file, content in files(tmp_path / name).items() if "json" not in file}
    assert made["a"] == made["b"]


def test_lines_too_long_for_sentencepiece_are_cut_and_not_lost(tmp_path):
    rng = np.random.default_rng(0)
    chinese = "".join(rng.choice(list("的一是在不了有和人这中大"), 3000))
    for name, line, size in (("zh", chinese, 19), ("en", "a river " * 900, 14)):
        (tmp_path / name).write_text(f"{line}\n\n{line[::-1]}", encoding="utf-8")
        list(prepare([str(tmp_path / name)], tmp_path / f"out-{name}", TextConfig(heldout=0), VocabConfig(size), 1))
        corpus = read_corpus(tmp_path / f"out-{name}", "train")
        assert corpus.num_documents == 2 and (corpus.tokens != 1).mean() > 0.99


def test_a_text_that_changed_meanwhile_is_noticed(source, tmp_path):
    shutil.copytree(source, tmp_path / "source")
    path = tmp_path / "source" / "a.txt"
    for progress in prepare([str(path)], tmp_path / "out", CONFIG, VOCAB, workers=1):
        if progress.stage == "shards":
            break
    path.write_text(path.read_text().replace("river", "water"))
    assert f"{path}: the text has changed since part 0" in failure([str(path)], tmp_path / "out", CONFIG, VOCAB, 1)


def test_what_cannot_be_prepared_is_explained_and_the_folder_stays_free(source, tmp_path):
    (tmp_path / "empty.txt").write_text("formula_1\n\n<br>\n")
    out = tmp_path / "out"
    config = TextConfig()
    assert "found no documents with text in" in failure([str(tmp_path / "empty.txt")], out, config, VOCAB, 1)
    message = failure([str(source / "a.txt")], out, config, VocabConfig(size=5000), 1)
    assert "a vocabulary of 5000" in message and "it supports 42 at most" in message
    message = failure([str(source / "b.jsonl")], out, config, VOCAB, 1)
    assert f"{source / 'b.jsonl'}: invalid UTF-8 at byte" in message


@pytest.mark.parametrize("name", ["spiece.model", "."])
def test_a_tokenizer_that_exists_is_taken_as_it_is(source, prepared, tmp_path, name):
    out = tmp_path / "out"
    assert list(prepare([str(source)], out, CONFIG, prepared / name, workers=1))
    made = files(out)
    for file, content in files(prepared).items():
        assert file.endswith(".json") or made[file] == content


def wordpiece(folder):
    letters = sorted({letter for word in WORDS for letter in word.lower()})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    return tokens


def test_a_wordpiece_vocabulary_is_taken_too(source, tmp_path):
    tokens = wordpiece(tmp_path)
    list(prepare([str(source / "a.txt")], tmp_path / "out", TextConfig(heldout=0), tmp_path / "vocab.txt", workers=1))
    corpus = read_corpus(tmp_path / "out", "train")
    first = make_texts()[0].split(".")[0]
    ids = corpus.tokens[: corpus.sentences[1]]
    assert "".join(tokens[i].removeprefix("##") for i in ids) == first.replace(" ", "").lower() + "."


def test_ids_stay_the_numbers_of_lines_that_repeat(source, tmp_path):
    """And the settings beside the vocabulary go with it: both decide the ids of what is trained on the corpus."""
    tokens = wordpiece(tmp_path)
    lines = [*tokens[:7], tokens[6], "", *tokens[7:]]
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in lines))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "tokenize_chinese_chars": false}')
    out = tmp_path / "out"
    list(prepare([str(source / "a.txt")], out, TextConfig(heldout=0), tmp_path, workers=1))
    ours, theirs = load_tokenizer(out), load_tokenizer(tmp_path)
    text = make_texts()[0] + "東京"
    assert ours.pieces([text]) == theirs.pieces([text])
    assert ours.casing == "cased (do_lower_case of tokenizer_config.json)"
    corpus = read_corpus(out, "train")
    assert corpus.tokens.max() < ours.vocab_size == len(lines)
    first = make_texts()[0].split(".")[0]
    ids = corpus.tokens[: corpus.sentences[1]]
    assert "".join(lines[i].removeprefix("##") for i in ids if i != 1) in first.replace(" ", "") + "."
    (out / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    with pytest.raises(InputError, match="the tokenizer is not the one that the shards were made with"):
        read_corpus(out, "train")


def test_killed_between_a_tokenizers_files_it_takes_all_of_them_again(source, tmp_path, monkeypatch):
    wordpiece(tmp_path)
    WordPiece.from_vocabulary(tmp_path / "vocab.txt", lowercase=False).save(tmp_path)

    def prepared():
        return list(prepare([str(source / "a.txt")], tmp_path / "out", TextConfig(), tmp_path / "tokenizer.json", 1))

    replace = os.replace
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):

        def replace_one(old, new):
            replace(old, new)
            if Path(new).name == "vocab.txt":
                raise KeyboardInterrupt

        killed.setattr(os, "replace", replace_one)
        prepared()
    assert (tmp_path / "out" / "vocab.txt").exists() and not (tmp_path / "out" / "tokenizer.json").exists()
    prepared()
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_the_sample_for_the_vocabulary_is_that_of_the_whole_text():
    texts = make_texts(100)
    whole = vocabulary.draw_paragraphs(texts, True, 80, vocabulary.HIGHEST)
    halves = [vocabulary.draw_paragraphs(part, True, 80, vocabulary.HIGHEST) for part in (texts[60:], texts[:60])]
    assert vocabulary.least([*halves[0], *halves[1]], 80) == whole
    assert 80 <= vocabulary.count_sentences(whole) < 83
    bounded = vocabulary.draw_paragraphs(texts, True, 80, whole[10][0])
    assert bounded == whole[:11]
    everything = vocabulary.draw_paragraphs(texts, True, 10**6, vocabulary.HIGHEST)
    assert {s for _, kept in everything for s in kept} == {s for text in texts for s in sentences_of(text)}


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 5])
def test_the_sample_does_not_depend_on_who_comes_first_where_checksums_are_the_same(wanted):
    lines = ["buckeroo. Once. Twice.", "plumless. Once. Twice.", "A river.", "A house. A stone."]
    # CRC32 is linear: what is the same of two words is the same of all texts that go on alike.
    assert zlib.crc32(lines[0].encode()) == zlib.crc32(lines[1].encode())
    whole = vocabulary.draw_paragraphs(["\n".join(lines)], True, wanted, vocabulary.HIGHEST)
    assert len(whole) == len({sentences for _, sentences in whole}) and vocabulary.count_sentences(whole) >= wanted
    for order in itertools.permutations(lines):
        drawn, highest = [], vocabulary.HIGHEST
        for line in order:
            drawn = vocabulary.least([*drawn, *vocabulary.draw_paragraphs([line], True, wanted, highest)], wanted)
            if vocabulary.count_sentences(drawn) >= wanted:
                highest = drawn[-1][0]
        assert drawn == whole


def test_held_out_documents_are_those_that_the_share_says():
    shares = np.array([module.share(b"text %d" % i) for i in range(20_000)])
    assert abs((shares < 0.1).mean() - 0.1) < 0.01 and module.share(b"text 1") == shares[1]
    counts = np.histogram(shares, 10, (0, 1))[0]
    assert counts.min() > 1850 and counts.max() < 2150


def test_documents_in_memory_go_the_same_way(tmp_path):
    documents = [list(sentences_of(text)) for text in make_texts(40)]
    prepare_documents(documents, tmp_path / "out", VocabConfig(size=40), heldout=0.2)
    made = files(tmp_path / "out")
    assert Counter(all_documents(tmp_path / "out")) == Counter(
        tuple(s.lower() for s in document) for document in documents if document
    )
    prepare_documents(documents, tmp_path / "out", VocabConfig(size=40), heldout=0.2)
    assert files(tmp_path / "out") == made
    with pytest.raises(InputError, match=r"inputs.documents was \d+ and is 20; inputs.sha256 was"):
        prepare_documents(documents[:20], tmp_path / "out", VocabConfig(size=40), heldout=0.2)


def test_folding_case_is_the_vocabulary_s_own():
    folded = train_sentencepiece(WORDS, 30, lowercase=True)
    kept = train_sentencepiece(WORDS, 30)
    assert folded.pieces(["ANNA Ünder"]) == folded.pieces(["anna ünder"])
    assert kept.pieces(["Anna"]) != kept.pieces(["anna"])
