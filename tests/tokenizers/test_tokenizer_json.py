# ruff: noqa: RUF001
"""A tokenizer.json has the ids of SentencePiece, on real text and on nasty text, and transformers opens it."""

import itertools
import json
import tarfile

import pytest
import tokenizers

from bert_jax.errors import InputError
from bert_jax.tokenizers.tokenizer import SentencePiece, WordPiece, load_tokenizer, train_sentencepiece
from bert_jax.tokenizers.tokenizer_json import save_for_transformers, to_fast

WORDS = "the a cat dog Red BLUE sees runs sleeps very and café naïve über ½ 77 777 ____ ... don't (x) “quoted” ﬁsh"
TEXT = [" ".join(words) + c for words, c in zip(itertools.permutations(WORDS.split(), 3), itertools.cycle(".,!?;:"))]
NASTY = [
    *("", " ", "  ", "\t\n", "a", " a  b ", "▁", "▁▁a ▁b", "a▁b", "\u200b", "x\u200by", "\u00a0x\u3000y\u2003 z"),
    *("é e\u0301 E\u0301", "И\u0301 Б\u0301о", "½\u0301", "A\u200db \u0301x", "q\u0307\u0323 Q\u0323\u0307"),
    *("한국어 \u1112\u1161\u11ab", "ｆｕｌｌ　ｗｉｄｔｈ", "ﬁ ﬀ ½ ² ™ Ⅷ", "日本語のテキスト", "ｶﾞ ﾊﾟ", "①② １２３"),
    *("☃☃ ☃ a☃b", "🙂🙃 👨‍👩‍👧‍👦", "a" * 300, "ab" * 100, "....... ,,, --- ----- ''''''", "\x00\x01x\x7f"),
    *("\u0085x\u2028y\u2029z", "İI ıi ß ẞ ﬅ", "α\u0313\u0301\u0345 x", "مرحبا بالعالم", "हिन्दी क्षि", "\ufeffbom"),
    *(
        "\u00adsoft\u00adhyphen",
        "http://a.b/c?d=e&f=g#h",
        "1,234.56 $5 €7 50%",
        "[CLSx] [ MASK]",
        "x\r\ny",
        "\u0130\u0307",
    ),
]
KINDS = pytest.mark.parametrize(("algorithm", "lowercase"), [*itertools.product(("unigram", "bpe"), (True, False))])


def make(algorithm: str, lowercase: bool, text: list[str] = TEXT, size: int = 60) -> SentencePiece:
    return train_sentencepiece(text, size, algorithm, lowercase, 0.9998)


def reopened(tokenizer: SentencePiece) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(to_fast(tokenizer.model).to_str())


def ids(fast: tokenizers.Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in fast.encode_batch(texts, add_special_tokens=False)]


@KINDS
def test_ids_are_those_of_sentencepiece(algorithm: str, lowercase: bool) -> None:
    tokenizer = make(algorithm, lowercase)
    texts = NASTY + TEXT
    wrong = [
        text
        for text, theirs, ours in zip(texts, ids(reopened(tokenizer), texts), tokenizer.pieces(texts), strict=True)
        if theirs != ours
    ]
    assert not wrong


@KINDS
def test_ids_of_real_text_differ_only_where_two_segmentations_are_as_good(algorithm, lowercase, shared) -> None:
    lines: list[str] = []
    with tarfile.open(shared / "corpora" / "simplewiki-2018.tar.xz", "r|xz") as archive:
        for member in archive:
            if member.isfile() and len(lines) < 6000:
                lines += [line for line in archive.extractfile(member).read().decode().split("\n") if line.strip()]
            elif len(lines) >= 6000:
                break
    tokenizer = make(algorithm, lowercase, lines[:3000], 2000)
    pieces, theirs = tokenizer.pieces(lines), ids(reopened(tokenizer), lines)
    different = [(a, b) for a, b in zip(pieces, theirs, strict=True) if a != b]
    score = tokenizer.processor.get_score
    assert len(lines) >= 6000 and len(different) <= 3
    assert algorithm == "unigram" or not different
    for a, b in different:
        assert sum(map(score, a)) == pytest.approx(sum(map(score, b)), abs=1e-2)


def test_pairs_have_their_special_tokens_and_segments() -> None:
    tokenizer = make("bpe", True)
    encoded = reopened(tokenizer).encode("the cat", "a dog")
    assert encoded.ids == tokenizer.encode("the cat", "a dog")
    assert encoded.type_ids == [0] * (encoded.ids.index(3) + 1) + [1] * (len(encoded.ids) - encoded.ids.index(3) - 1)


def test_the_name_of_a_special_token_is_that_token() -> None:
    """As in every tokenizer of BERT; not so in SentencePiece, see `to_fast`."""
    assert ids(reopened(make("unigram", True)), ["the [MASK]"])[0][-1] == 4


@pytest.mark.parametrize("algorithm", ["word", "char"])
def test_a_model_of_another_kind_is_saved_without_it(algorithm: str, tmp_path) -> None:
    tokenizer = make(algorithm, True, size=40)
    with pytest.raises(
        InputError, match=f"cannot be converted to an equal tokenizer.json: its algorithm is {algorithm}"
    ):
        to_fast(tokenizer.model)
    with pytest.warns(UserWarning, match=r"saved without a tokenizer\.json: this SentencePiece model"):
        save_for_transformers(tokenizer, tmp_path, 32)
    assert load_tokenizer(tmp_path).pieces(["the cat"]) == tokenizer.pieces(["the cat"])


@pytest.mark.parametrize("kind", ["unigram", "bpe", "wordpiece", "cased"])
def test_transformers_opens_what_is_saved(kind: str, tmp_path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    if kind in ("unigram", "bpe"):
        tokenizer = make(kind, True)
    else:
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), *"abcdef", "##s", "##e"]
        (tmp_path / "words").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        tokenizer = WordPiece.from_vocabulary(tmp_path / "words", lowercase=kind == "wordpiece")
    (tmp_path / "model").mkdir()
    save_for_transformers(tokenizer, tmp_path / "model", 12)
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    texts, pairs = TEXT[:50] + NASTY, [*NASTY, *TEXT[:50]]
    expected = [tokenizer.encode(a, b, 12) for a, b in zip(texts, pairs, strict=True)]
    for cls in (transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast):
        theirs = cls.from_pretrained(tmp_path / "model")
        assert theirs.model_max_length == 12 and theirs.mask_token_id == tokenizer.special.mask
        assert list(theirs("a")) == ["input_ids", "token_type_ids", "attention_mask"]
        assert theirs(texts, pairs, truncation=True)["input_ids"] == expected
