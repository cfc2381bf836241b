"""Tokenizers beside their references: published ids, and the `tokenizers` library's own template and truncation."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tokenizers
from tokenizers.implementations import BertWordPieceTokenizer

from bert_jax.errors import InputError
from bert_jax.tokenizers.template import SpecialIds, assemble, longest_first
from bert_jax.tokenizers.tokenizer import SentencePiece, WordPiece, load_tokenizer, train_sentencepiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "a b c the cat dog sat mat on un ##s ##ing ##able . , ! der ##á".split()
AWKWARD = [
    "",
    "   \t\n ",
    "Déjà vu, naïve Ångström: Ça va?",
    "ÉLAN élan ELAN",
    "東京 is 日本's capital",
    "emoji 🙂👍🏽 and\u200bzero-width, non\u00a0breaking, soft\u00adhyphen",
    "control \x00\x07\ufffd characters",
    "3.14e-10 $5,000.00 #hash @at a_b C++ don't co-operate",
    "x" * 99 + " " + "y" * 101 + " " + "z" * 300,
    "combining e\u0301 and Ω ß İ ﬁ",
    "[CLS] said [MASK] to [SEP].",
    "العربية हिन्दी русский ไทย",
]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(SPECIAL + WORDS) + "\n", encoding="utf-8")
    return tmp_path / "vocab.txt"


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


# WordPiece beside published ids


def test_all_reference_questions_come_out_exactly(shared: Path) -> None:
    folder = shared / "tokenization"
    questions = json.loads((folder / "squad_questions_wordpieces.json").read_text(encoding="utf-8"))
    ids = json.loads((folder / "squad_questions_ids.json").read_text(encoding="utf-8"))
    assert len(questions) == len(ids) == 10570
    tokenizer = WordPiece.from_vocabulary(folder / "bert-base-uncased-vocab.txt")
    pieces = tokenizer.pieces([question["original"] for question in questions])
    wrong = [q["original"] for q, ours, theirs in zip(questions, pieces, ids, strict=True) if ours != theirs]
    assert wrong == []
    words = [[tokenizer.tokenizer.id_to_token(i) for i in row] for row in pieces]
    assert words == [question["wordpiece"] for question in questions]
    assert tokenizer.special == SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)


def test_a_cased_vocabulary_keeps_case_and_accents(shared: Path, tmp_path: Path) -> None:
    path = shared / "tokenization" / "bert-base-cased-vocab.txt"
    vocabulary = path.read_text(encoding="utf-8").split("\n")
    (tmp_path / "vocab.txt").write_bytes(path.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    tokenizer = load_tokenizer(tmp_path)
    words = ["The", "the", "Paris", "é"]
    assert tokenizer.pieces(words) == [[vocabulary.index(word)] for word in words]
    assert tokenizer.vocab_size == 28996


def test_tokenizer_json_and_vocab_txt_are_the_same_tokenizer(minilm: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes((minilm / "vocab.txt").read_bytes())
    one, two = load_tokenizer(minilm), load_tokenizer(tmp_path)
    assert one.pieces(AWKWARD) == two.pieces(AWKWARD)
    assert (one.special, one.vocab_size) == (two.special, two.vocab_size)


def test_the_awkward_texts_beside_transformers(minilm: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    theirs = transformers.AutoTokenizer.from_pretrained(minilm)
    ours = load_tokenizer(minilm)
    for text in AWKWARD:
        assert ours.encode(text) == theirs(text)["input_ids"]
        assert ours.encode(text, "the cat") == theirs(text, "the cat")["input_ids"]


# The template and the truncation beside the library's own


@pytest.mark.parametrize("paired", [False, True])
def test_encode_is_the_librarys_template_and_longest_first(paired: bool, vocabulary: Path) -> None:
    """Every combination of short lengths, ties and odd budgets among them, and random longer ones."""
    ours, theirs = WordPiece.from_vocabulary(vocabulary), BertWordPieceTokenizer(str(vocabulary))
    rng = np.random.default_rng(0)
    lengths = [(a, b, limit) for a in range(7) for b in range(7) for limit in range(3 if paired else 2, 15)]
    lengths += [tuple(map(int, row)) for row in rng.integers((0, 0, 3), (60, 60, 80), (500, 3))]
    for a, b, limit in lengths:
        text, pair = (" ".join(rng.choice(["the", "cat", "sat", "on"], n)) for n in (a, b))
        second = pair if paired else None
        theirs.enable_truncation(limit, strategy="longest_first")
        expected = theirs.encode(text, second)
        assert ours.encode(text, second, limit) == expected.ids, (a, b, limit)
        pieces = ours.pieces([text, pair])
        assert assemble(ours.template, pieces[0], pieces[1] if paired else None, limit).segments == expected.type_ids


def test_truncation_empties_no_side_when_both_fit() -> None:
    for a in range(1, 20):
        for b in range(1, 20):
            for budget in range(2, 40):
                kept_a, kept_b = longest_first(a, b, budget)
                assert kept_a >= 1 and kept_b >= 1
                assert kept_a + kept_b == min(a + b, budget), "no room is wasted"


def test_a_text_exactly_as_long_as_the_limit_is_whole(vocabulary: Path) -> None:
    """An off-by-one would cut it, or empty it."""
    tokenizer = WordPiece.from_vocabulary(vocabulary)
    whole = tokenizer.encode("the cat sat")
    assert tokenizer.encode("the cat sat", max_length=5) == whole
    assert tokenizer.encode("the cat sat", max_length=4) == [*whole[:3], tokenizer.special.sep]
    assert tokenizer.encode("") == [tokenizer.special.cls, tokenizer.special.sep]


def test_a_files_own_padding_and_truncation_are_off(vocabulary: Path) -> None:
    library = BertWordPieceTokenizer(str(vocabulary))
    library.enable_truncation(4)
    library.enable_padding(length=30)
    library.save(str(vocabulary.with_name("tokenizer.json")))
    assert len(load_tokenizer(vocabulary.parent).encode("the cat " * 20)) == 42


def test_wordpiece_saved_and_loaded_is_the_same(vocabulary: Path, tmp_path: Path) -> None:
    tokenizer = WordPiece.from_vocabulary(vocabulary)
    (tmp_path / "saved").mkdir()
    tokenizer.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "vocab.txt").read_text(encoding="utf-8") == vocabulary.read_text(encoding="utf-8")
    again = load_tokenizer(tmp_path / "saved")
    texts = ["the cats sat on unable mat!", "derá dogs", "zzz the", ""]
    assert again.pieces(texts) == tokenizer.pieces(texts)
    assert again.special == tokenizer.special == SpecialIds(0, 1, 2, 3, 4)


# SentencePiece


def sentences(rows: int = 400) -> list[str]:
    rng = np.random.default_rng(0)
    syllables = ["ba", "do", "ki", "lu", "me", "no", "ra", "si", "tu", "ve"]
    words = ["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(80)]
    return [" ".join(rng.choice(words, rng.integers(3, 9))) + "." for _ in range(rows)]


@pytest.fixture(scope="module")
def trained() -> SentencePiece:
    return train_sentencepiece(sentences(), 90)


def test_sentencepiece_has_bert_s_special_tokens_first(trained: SentencePiece) -> None:
    assert trained.vocab_size == 90
    assert trained.special == SpecialIds(0, 1, 2, 3, 4)
    assert [trained.processor.id_to_piece(i) for i in range(5)] == SPECIAL


def test_sentencepiece_reads_back_what_it_wrote(trained: SentencePiece) -> None:
    texts = sentences()
    pieces = trained.pieces(texts)
    assert trained.processor.decode(pieces) == texts
    assert {i for row in pieces for i in row}.isdisjoint(trained.special)


def test_no_text_contains_a_special_token(trained: SentencePiece) -> None:
    """The spelling of a special token is plain text, and characters outside the vocabulary become [UNK]."""
    (pieces,) = trained.pieces(["[MASK] [SEP] ba [CLS]"])
    assert not {trained.special.mask, trained.special.sep, trained.special.cls} & set(pieces)
    assert trained.special.unk in pieces


def test_sentencepiece_encodes_pairs_as_wordpiece_does(trained: SentencePiece) -> None:
    one, two = trained.pieces(["badoki lume.", "no"])
    assert trained.encode("badoki lume.", "no") == [2, *one, 3, *two, 3]
    assert trained.encode("") == [2, 3]
    assert trained.pieces([]) == []


def test_sentencepiece_is_deterministic(trained: SentencePiece) -> None:
    assert train_sentencepiece(sentences(), 90).model == trained.model


def test_sentencepiece_saved_and_loaded_is_the_same(trained: SentencePiece, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert isinstance(again, SentencePiece)
    assert again.model == trained.model
    assert again.pieces(sentences(50)) == trained.pieces(sentences(50))


# Errors


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (3, "the special tokens alone are 5"),
        (6, r"with its characters and the special tokens it has at least (\d+) pieces"),
        (100_000, r"it supports (\d+) at most"),
    ],
)
def test_a_vocabulary_that_the_text_does_not_support(size: int, reason: str) -> None:
    """The number in the reason can be trained."""
    with pytest.raises(InputError) as caught:
        train_sentencepiece(sentences(20), size)
    start = re.escape(f"a vocabulary of {size} (vocab_size) cannot be trained on this text: ")
    found = re.fullmatch(start + reason, str(caught.value))
    assert found, str(caught.value)
    for number in map(int, found.groups()):
        assert train_sentencepiece(sentences(20), number).vocab_size == number


def test_no_text_to_train_on() -> None:
    with pytest.raises(InputError, match="cannot be trained on this text"):
        train_sentencepiece([], 90)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        f"{tmp_path} has no tokenizer: one of spiece.model, tokenizer.json, vocab.txt, vocab.json is needed"
    )


def test_a_vocabulary_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no vocabulary"):
        WordPiece.from_vocabulary(tmp_path / "vocab.txt")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n", "vocab.txt: the vocabulary has no [MASK]"),
        (b"[PAD]\n[UNK]\n[CLS]\nthe\n", "vocab.txt: the vocabulary has no [SEP], [MASK]: a BERT tokenizer needs them"),
        (b"", "vocab.txt: the vocabulary has no [PAD], [UNK], [CLS], [SEP], [MASK]"),
        (b"[CLS]\n\xff\xfe\n", "vocab.txt is not a usable vocabulary: "),
    ],
)
def test_a_vocabulary_that_is_none_of_bert(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    assert reason in refused(tmp_path)


@pytest.mark.parametrize("text", ["{", "", "{}"])
def test_a_damaged_tokenizer_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    assert refused(tmp_path).startswith(f"{tmp_path / 'tokenizer.json'} is not a readable tokenizer: ")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_tokenizer_config(text: str, vocabulary: Path) -> None:
    path = vocabulary.with_name("tokenizer_config.json")
    path.write_text(text)
    assert refused(vocabulary.parent).startswith((f"{path} is not JSON (", f"{path} holds no JSON object"))


def test_what_a_sentencepiece_model_cannot_have(trained: SentencePiece, tmp_path: Path) -> None:
    trained.save(tmp_path)
    with pytest.raises(InputError, match="treats case as it was trained to"):
        load_tokenizer(tmp_path, cased=True)
    (tmp_path / "added_tokens.json").write_text('{"[E1]": 90}')
    assert refused(tmp_path).startswith(f"{tmp_path / 'spiece.model'}: the files beside it add '[E1]', and no token")


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_damaged_sentencepiece_model(keep: int, trained: SentencePiece, tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(trained.model[:keep])
    assert "SentencePiece model" in refused(tmp_path)


def test_a_sentencepiece_model_with_a_piece_that_is_no_text(trained: SentencePiece, tmp_path: Path) -> None:
    start, _, end = trained.model.rpartition("\u2581".encode())
    (tmp_path / "spiece.model").write_bytes(start + b"\xff\x96\x81" + end)
    assert "this SentencePiece model is damaged: a piece is not UTF-8" in refused(tmp_path)


def test_a_sentencepiece_model_of_something_else(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()), model_writer=model, vocab_size=80, minloglevel=2
    )
    (tmp_path / "spiece.model").write_bytes(model.getvalue())
    assert "has no [PAD], [UNK], [CLS], [SEP], [MASK] as its ids 0 to 4" in refused(tmp_path)


def test_a_tokenizer_json_of_something_else(tmp_path: Path) -> None:
    tokenizers.Tokenizer(tokenizers.models.BPE()).save(str(tmp_path / "tokenizer.json"))
    assert "the vocabulary has no [PAD]" in refused(tmp_path)
