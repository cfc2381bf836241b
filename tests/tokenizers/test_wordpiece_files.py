"""Directories of tokenizers over all settings that are honoured, beside what transformers makes of them."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import AddedToken
from tokenizers.models import WordPiece as WordPieceModel
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bert_jax.errors import InputError
from bert_jax.tokenizers.template import SpecialIds
from bert_jax.tokenizers.tokenizer import Tokenizer, load_tokenizer
from bert_jax.tokenizers.tokenizer_json import save_for_transformers

DIRECTORIES, STRINGS = 240, 10

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LOWER = "the cat sat on mat . ##s a un ##able möchte mochte caf ##e ##é café cafe 東 京 東京 ##京 hello world".split()
LOWER += ["[", "]", "<", ">", "##x", "x", "##word", "new", "e", "1", "##1", "<s>", "[unused1]", "\u0645", "ß", "i"]
CAPITALS = ["The", "Cat", "CAF", "##É", "É", "Möchte", "New", "E", "##E", "X", "I", "İ"]
ADDABLE = [*"newword [E1] [E2] NewWord cat é É 東京 ##x <s> x1 möchte 🙂".split(), "hello world"]
FRAGMENTS = [*ADDABLE, *CAPITALS, *LOWER, "[MASK]", "[CLS]", "[sep]", "e\u0301", "\u0301", "\u200b", "\x00", "\x07"]
FRAGMENTS += ["\x85", "\ufffd", "\u00ad", "\u00a0", "\u3000", "\u2028", "\t", "\n", "  ", "x" * 101]
FRAGMENTS += "日本 👍🏽 ﬁ Σς don't the ไทย".split()


def write(folder: Path, **files: Any) -> Path:
    """A model directory; `vocab` is a list of lines, other names are those of JSON files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"config": {"model_type": "bert"}, **files}.items():
        if name == "vocab":
            (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in content), encoding="utf-8", newline="")
        elif content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def flags(rng: np.random.Generator, special: bool | None = None) -> dict[str, bool]:
    found = {name: bool(rng.random() < 0.4) for name in ("lstrip", "rstrip", "single_word", "normalized")}
    return found | {"special": bool(rng.random() < 0.5) if special is None else special}


def numbered(vocabulary: list[str], tokens: list[str]) -> dict[str, int]:
    """The ids that tokens get which are added in this order."""
    new = [token for token in tokens if token not in vocabulary]
    return {token: [*vocabulary, *new].index(token) for token in tokens}


def tokenizer_json(rng: np.random.Generator, vocabulary: list[str], tokens: list[str], bert: bool) -> dict[str, Any]:
    library = tokenizers.Tokenizer(WordPieceModel({name: n for n, name in enumerate(vocabulary)}, unk_token="[UNK]"))
    strip, cjk, lower = rng.choice([True, False, None]), bool(rng.random() < 0.6), bool(rng.random() < 0.6)
    library.normalizer = BertNormalizer(strip_accents=strip, handle_chinese_chars=cjk, lowercase=lower)
    library.pre_tokenizer = BertPreTokenizer()
    library.add_special_tokens([name for name in SPECIAL if rng.random() < 0.8])
    library.add_tokens([AddedToken(token, **flags(rng)) for token in tokens])
    if not bert or rng.random() < 0.5:
        library.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return json.loads(library.to_str())


def settings(rng: np.random.Generator, cased: bool, from_json: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    classes = ["BertTokenizer", "BertTokenizerFast", "ElectraTokenizer", "DistilBertTokenizer"]
    classes += ["PreTrainedTokenizerFast", "TokenizersBackend"] if from_json else []
    if rng.random() < 0.6:
        found["tokenizer_class"] = str(rng.choice(classes))
    # A cased vocabulary that nothing is said of is cased to us, and lowercased by transformers.
    if rng.random() < 0.6 or (cased and not from_json):
        found["do_lower_case"] = bool(rng.random() < 0.5)
    if rng.random() < 0.5:
        found["strip_accents"] = [True, False, None][rng.integers(3)]
    if rng.random() < 0.5:
        found["tokenize_chinese_chars"] = bool(rng.random() < 0.5)
    if rng.random() < 0.2:
        found |= {"never_split": None, "do_basic_tokenize": True, "model_max_length": 512, "padding_side": "right"}
    return found


def directory(rng: np.random.Generator, folder: Path) -> Path:
    """A directory with any of the files and settings, which agree with each other about ids."""
    cased = bool(rng.random() < 0.5)
    vocabulary = SPECIAL + list(rng.permutation(LOWER + CAPITALS * cased))
    kind = str(rng.choice(["vocab", "json", "both"]))
    config = settings(rng, cased, kind != "vocab")
    tokens = [str(t) for t in rng.permutation(ADDABLE)[: rng.integers(0, 6)]]
    files: dict[str, Any] = {"vocab": vocabulary} if kind != "json" else {}
    ids = numbered(vocabulary, tokens)
    if kind != "vocab":
        bert = "Bert" in config.get("tokenizer_class", "Bert")
        files["tokenizer"] = tokenizer_json(rng, vocabulary, tokens * bool(rng.random() < 0.6), bert)
    way = str(rng.choice(["none", "list", "decoder"]))
    if way == "list":
        files["added_tokens"] = ids
    elif way == "decoder":
        config["added_tokens_decoder"] = {str(n): {"content": token, **flags(rng)} for token, n in ids.items()}
    others = [str(t) for t in rng.permutation(ADDABLE)[: rng.integers(0, 3)]]
    if rng.random() < 0.4:
        config[str(rng.choice(["additional_special_tokens", "extra_special_tokens"]))] = others
    named = {"mask_token": "[MASK]", "cls_token": str(rng.choice(["[CLS]", "<s>"])), "bos_token": "<s>"}
    if rng.random() < 0.3:
        kept = {name: value for name, value in named.items() if rng.random() < 0.6}
        config |= {
            name: value if rng.random() < 0.5 else {"__type": "AddedToken", "content": value, **flags(rng, True)}
            for name, value in kept.items()
        }
    if rng.random() < 0.3:
        mask = {"content": "[MASK]", **{k: v for k, v in flags(rng).items() if k != "special"}}
        files["special_tokens_map"] = {"mask_token": mask, "additional_special_tokens": others}
    return write(folder, **files, tokenizer_config=config or None)


def strings(rng: np.random.Generator) -> Iterator[str]:
    for _ in range(STRINGS):
        parts = rng.choice(FRAGMENTS, rng.integers(1, 12))
        yield "".join(str(part) + str(rng.choice(["", " "])) for part in parts)


def assert_same(ours: Tokenizer, theirs: Any, texts: list[str], where: object) -> None:
    pairs = texts[1:] + texts[:1]
    assert [ours.encode(text) for text in texts] == theirs(texts)["input_ids"], where
    assert [ours.encode(a, b) for a, b in zip(texts, pairs, strict=True)] == theirs(texts, pairs)["input_ids"], where


@pytest.mark.filterwarnings("ignore:.*transformers' default counts:UserWarning")
def test_ids_are_those_of_transformers_over_all_settings(tmp_path: Path) -> None:
    """Equal for texts and for pairs, before and after saving; refused only where tokens would be found at random."""
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    rng = np.random.default_rng(13)
    compared = 0
    for number in range(DIRECTORIES):
        folder = directory(rng, tmp_path / str(number))
        texts = list(strings(rng))
        try:
            ours = load_tokenizer(folder)
        except InputError as error:
            assert str(folder) in str(error) and "cannot be told apart" in str(error)
            continue
        assert_same(ours, transformers.AutoTokenizer.from_pretrained(folder), texts, folder)
        saved = write(tmp_path / f"{number}-saved")
        save_for_transformers(ours, saved, 512)
        assert_same(ours, transformers.AutoTokenizer.from_pretrained(saved), texts, saved)
        assert load_tokenizer(saved).pieces(texts) == ours.pieces(texts), saved
        if json.loads((saved / "tokenizer_config.json").read_text())["tokenizer_class"] == "BertTokenizer":
            (saved / "tokenizer.json").unlink()
            assert load_tokenizer(saved).pieces(texts) == ours.pieces(texts), "vocab.txt and tokenizer_config.json"
        compared += len(texts)
    assert compared >= 2000


CASE = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat . ##s a möchte mochte café cafe 東 京 東京 ##京".split()


@pytest.mark.parametrize(
    ("config", "text", "pieces"),
    [
        ({"do_lower_case": True}, "Möchte café", ["mochte", "cafe"]),
        ({"do_lower_case": True, "strip_accents": False}, "Möchte café", ["möchte", "café"]),
        ({"do_lower_case": False}, "The möchte", ["[UNK]", "möchte"]),
        ({"do_lower_case": False, "strip_accents": True}, "The möchte", ["[UNK]", "mochte"]),
        ({"do_lower_case": True, "tokenize_chinese_chars": False}, "東京 a", ["東京", "a"]),
        ({"do_lower_case": True}, "東京 a", ["東", "京", "a"]),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_the_config_has_the_last_word(
    config: dict[str, Any], text: str, pieces: list[str], beside: bool, tmp_path: Path
) -> None:
    """Also beside a tokenizer.json that says the contrary of everything."""
    folder = write(tmp_path, vocab=CASE, tokenizer_config=config)
    if beside:
        config = {"strip_accents": config["do_lower_case"], "tokenize_chinese_chars": True} | config
        library = load_tokenizer(folder).tokenizer
        library.normalizer = BertNormalizer(
            lowercase=not config["do_lower_case"],
            strip_accents=not config["strip_accents"],
            handle_chinese_chars=not config["tokenize_chinese_chars"],
        )
        library.save(str(folder / "tokenizer.json"))
        write(folder, tokenizer_config=config)
    assert load_tokenizer(folder).pieces([text]) == [[CASE.index(piece) for piece in pieces]]


def test_what_a_tokenizer_json_says_in_vain_is_warned_of(tmp_path: Path) -> None:
    """The config is silent, and then transformers' defaults count."""
    folder = write(tmp_path, vocab=CASE, tokenizer_config={"do_lower_case": False, "tokenize_chinese_chars": False})
    load_tokenizer(folder).tokenizer.save(str(folder / "tokenizer.json"))
    write(folder, tokenizer_config={})
    with pytest.warns(UserWarning, match="do_lower_case false, tokenize_chinese_chars false, but"):
        assert load_tokenizer(folder).pieces(["THE"]) == [[5]]


def test_a_tokenizer_json_alone_is_taken_as_it_is(tmp_path: Path) -> None:
    """No model is beside it: a prepared corpus, whose shards were made with it, or the file that --vocab names."""
    folder = write(tmp_path, vocab=CASE, tokenizer_config={"do_lower_case": False})
    load_tokenizer(folder).tokenizer.save(str(tmp_path / "tokenizer.json"))
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert load_tokenizer(folder).pieces(["The möchte"]) == [[1, CASE.index("möchte")]]


@pytest.mark.parametrize(
    ("files", "text", "ids"),
    [
        ({"added_tokens": {"[E1]": 19, "newword": 20}}, "[E1] newword", [19, 20]),
        (
            {
                "tokenizer_config": {
                    "additional_special_tokens": ["[E1]", "[E2]"],
                    "added_tokens_decoder": {"19": {"content": "[E1]"}, "20": {"content": "[E2]", "special": True}},
                }
            },
            "x [E1] y [E2]",
            [1, 19, 1, 20],
        ),
        ({"tokenizer_config": {"additional_special_tokens": ["[E1]"]}}, "[E1]", [19]),
        ({"special_tokens_map": {"additional_special_tokens": ["[E1]"]}}, "the[E1]s", [5, 19, 1]),
    ],
)
def test_added_tokens_are_found(files: dict[str, Any], text: str, ids: list[int], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write(tmp_path, vocab=CASE, **files))
    assert tokenizer.pieces([text]) == [ids]
    assert tokenizer.vocab_size == max(19, *ids) + 1


def test_special_tokens_by_other_names(tmp_path: Path) -> None:
    vocabulary = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "a", "##b"]
    names = dict(zip(["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"], vocabulary, strict=False))
    tokenizer = load_tokenizer(write(tmp_path, vocab=vocabulary, special_tokens_map=names))
    assert tokenizer.special == SpecialIds(0, 1, 2, 3, 4)
    assert tokenizer.encode("ab c <mask>", "a") == [2, 5, 6, 1, 4, 3, 5, 3]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tokenizer_config": {"tokenizer_class": "RobertaTokenizer"}}, "a RobertaTokenizer needs a tokenizer.json"),
        (
            {"tokenizer_config": {"tokenizer_class": "GPT2Tokenizer"}},
            "tokenizer_class GPT2Tokenizer is not supported; known are BertTokenizer, ",
        ),
        ({"tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast"}}, "needs a tokenizer.json"),
        ({"tokenizer_config": {"split_special_tokens": True}}, "split_special_tokens True is not supported"),
        ({"tokenizer_config": {"truncation_side": "left"}}, "truncation_side 'left' is not supported; only 'right' is"),
        ({"tokenizer_config": {"never_split": ["x"]}}, "never_split ['x'] is not supported"),
        ({"tokenizer_config": {"strip_accents": 1}}, "strip_accents is 1, and must be true or false"),
        ({"tokenizer_config": {"do_lower_case": "false"}}, "do_lower_case is 'false', and must be true or false"),
        ({"added_tokens": {"[E1]": 40}}, "the added token '[E1]' is listed with the id 40"),
        (
            {"added_tokens": {"cat": 19}},
            "the added token 'cat' is listed with the id 19, but the vocabulary gives it 6",
        ),
        ({"added_tokens": {"[E1]": "x"}}, "the id 'x' of an added token is not a whole number"),
        ({"tokenizer_config": {"added_tokens_decoder": {"19": "x"}}}, "the added token 'x' is not an object with"),
        ({"added_tokens": {"x": 19, "X": 20}}, "the added token 'X' becomes 'x' when it is normalised, as does 'x'"),
        ({"tokenizer_config": {"mask_token": "<m>"}}, "the vocabulary has no <m>"),
        ({"tokenizer_config": {"added_tokens_decoder": 3}}, "added_tokens_decoder is 3; it must be an object"),
        ({"tokenizer_config": {"additional_special_tokens": "[E1]"}}, 'special_tokens is "[E1]"; it must be a list'),
        ({"special_tokens_map": {"extra_special_tokens": 3}}, "extra_special_tokens is 3; it must be a list"),
        ({"special_tokens_map": {"cls_token": "\ud800"}}, "special_tokens_map.json holds \\ud800, half of a surrogate"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(files: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = write(tmp_path, vocab=CASE, **files)
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder)
    assert said in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize("field", ["clean_text", "pre_tokenizer"])
def test_a_tokenizer_json_of_other_parts_needs_the_class_that_takes_it(field: str, tmp_path: Path) -> None:
    folder = write(tmp_path, vocab=CASE, tokenizer_config={"do_lower_case": True})
    library = load_tokenizer(folder).tokenizer
    if field == "clean_text":
        library.normalizer = BertNormalizer(clean_text=False)
    else:
        library.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    library.save(str(folder / "tokenizer.json"))
    with pytest.raises(InputError, match=f"{field}.* where BERT has .*PreTrainedTokenizerFast"):
        load_tokenizer(folder)
    write(folder, tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"})
    assert load_tokenizer(folder).pieces(["the cat."])[0][0] == CASE.index("the")


# Ids are line numbers


LINES = {
    "duplicate": ["the", "cat", "the", "sat"],
    "blank": ["the", "", "cat", "sat", "", ""],
    "line separators": ["the", "\u2028", "\u3000", "\u00a0", "\t", "cat", "sat"],
    "space at the end": ["the", "cat", "the \u3000", "sat"],
}


@pytest.mark.parametrize("kind", LINES)
def test_every_id_is_the_number_of_its_line(kind: str, tmp_path: Path) -> None:
    """Of a token that comes twice, the last, as BERT's own code has it; saved, every file says the same."""
    lines = [*SPECIAL, *LINES[kind], "##s", *[""] * (kind == "blank")]
    place = {line.strip(): n for n, line in enumerate(lines)}
    texts = ["the cats sat", "cat the"]
    expected = [[place[p] for p in ("the", "cat", "##s", "sat")], [place["cat"], place["the"]]]
    ours = load_tokenizer(write(tmp_path / "first", vocab=lines))
    assert ours.pieces(texts) == expected
    assert ours.vocab_size == len(ours.starts_word) == place["##s"] + 1
    saved = write(tmp_path / "saved")
    save_for_transformers(ours, saved, 512)
    alone = write(tmp_path / "alone")
    (alone / "vocab.txt").write_bytes((saved / "vocab.txt").read_bytes())
    for folder in (saved, alone):
        again = load_tokenizer(folder)
        assert (again.pieces(texts), again.vocab_size) == (expected, ours.vocab_size)
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    for folder in (tmp_path / "first", saved, alone):
        assert_same(ours, transformers.AutoTokenizer.from_pretrained(folder), texts, folder)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n\n", ""])
def test_a_byte_order_mark_and_the_end_of_the_file_are_no_tokens(end: str, tmp_path: Path) -> None:
    text = ("\r\n" if "\r" in end else "\n").join([*SPECIAL, "the", "##s"]) + end
    (tmp_path / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.special, tokenizer.vocab_size) == (SpecialIds(0, 1, 2, 3, 4), 7)
    assert tokenizer.pieces(["thes"]) == [[5, 6]]


def test_an_added_token_keeps_its_id_behind_lines_that_repeat(tmp_path: Path) -> None:
    """The library counts tokens where it should go by the highest id, and would give the last line's to it."""
    lines = [*SPECIAL, "the", "the", "cat", "##s"]
    tokenizer = load_tokenizer(write(tmp_path / "a", vocab=lines, added_tokens={"[E1]": 9}))
    assert tokenizer.pieces(["the [E1] cats"]) == [[6, 9, 7, 8]]
    behind = load_tokenizer(write(tmp_path / "b", vocab=[*lines, "", ""], added_tokens={"[E1]": 11}))
    assert behind.pieces(["[E1]"]) == [[11]]


# Cased or not


@pytest.mark.parametrize(
    ("words", "casing"),
    [
        (["<S>", "<T>", "[unused1]", "the", "是", "##a"], "lowercased (no word piece of vocab.txt has a capital)"),
        (["<S>", "the", "##ES"], "cased (vocab.txt has '##ES' and no file says do_lower_case)"),
        (["the", "Привет", "##s"], "cased (vocab.txt has 'Привет' and no file says do_lower_case)"),
        (["the", "C++", "A1", "##s"], "lowercased (no word piece of vocab.txt has a capital)"),
    ],
)
def test_case_is_decided_by_ordinary_word_pieces(words: list[str], casing: str, tmp_path: Path) -> None:
    """Where transformers would decide otherwise, a warning says so."""
    folder = write(tmp_path, vocab=[*SPECIAL, *words])
    warned = pytest.warns(UserWarning, match="vocab.txt: taken as cased, because of .*; transformers lowercases texts")
    with warned if casing.startswith("cased") else nullcontext():
        assert load_tokenizer(folder).casing == casing
    the = 5 + words.index("the") if "the" in words else 1
    assert load_tokenizer(folder, cased=False).pieces(["THE"]) == [[the]]
    assert load_tokenizer(folder, cased=True).pieces(["THE"]) == [[1]]
    assert load_tokenizer(folder, cased=True).casing == "cased (as asked)"
    write(folder, tokenizer_config={"do_lower_case": True})
    assert load_tokenizer(folder).casing == "lowercased (do_lower_case of tokenizer_config.json)"


def test_case_can_be_asked_of_a_tokenizer_json(tmp_path: Path) -> None:
    folder = write(tmp_path, vocab=CASE)
    load_tokenizer(folder).save(folder)
    for cased, expected in ((True, 1), (False, 5)):
        assert load_tokenizer(folder, cased=cased).pieces(["THE"]) == [[expected]]
    write(folder, tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"})
    for cased, expected in ((True, 1), (False, 5)):
        assert load_tokenizer(folder, cased=cased).pieces(["THE"]) == [[expected]]


def test_a_vocabulary_of_another_kind_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"vocab\.txt: no piece continues a word \(##\)"):
        load_tokenizer(write(tmp_path, vocab=[*SPECIAL, "c", "o", "br"]))
