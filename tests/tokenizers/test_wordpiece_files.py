"""Directories of tokenizers over all settings that are honoured, beside what transformers makes of them."""

import json
from collections.abc import Iterator
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
from bert_jax.tokenizers.tokenizer import Tokenizer, load_tokenizer
from bert_jax.tokenizers.tokenizer_json import save_for_transformers

DIRECTORIES, STRINGS = 240, 10

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LOWER = "the cat sat on mat . ##s a un ##able möchte mochte caf ##e ##é café cafe 東 京 東京 ##京 hello world".split()
LOWER += ["[", "]", "<", ">", "##x", "x", "##word", "new", "e", "1", "##1", "<s>", "[unused1]", "\u0645", "ß", "i"]
CAPITALS = ["The", "Cat", "CAF", "##É", "É", "Möchte", "New", "E", "##E", "X", "I", "İ"]
ADDABLE = "newword [E1] [E2] NewWord cat é É 東京 ##x <s> x1 möchte 🙂".split() + ["hello world"]
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


def same(ours: Tokenizer, theirs: Any, texts: list[str], where: object) -> None:
    pairs = texts[1:] + texts[:1]
    assert [ours.encode(text) for text in texts] == theirs(texts)["input_ids"], where
    assert [ours.encode(a, b) for a, b in zip(texts, pairs, strict=True)] == theirs(texts, pairs)["input_ids"], where


@pytest.mark.filterwarnings("ignore:.*transformers' default counts:UserWarning")
def test_ids_are_those_of_transformers_over_all_settings(tmp_path: Path) -> None:
    """Equal for texts and for pairs, before and after saving; else refused, by name."""
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    rng = np.random.default_rng(13)
    compared, refused = 0, []
    for number in range(DIRECTORIES):
        folder = directory(rng, tmp_path / str(number))
        texts = list(strings(rng))
        try:
            theirs = transformers.AutoTokenizer.from_pretrained(folder)
        except Exception as error:
            theirs = error
        try:
            ours = load_tokenizer(folder)
        except InputError as error:
            assert str(folder) in str(error)
            refused.append((str(error), theirs))
            continue
        same(ours, theirs, texts, folder)
        compared += len(texts)
        saved = write(tmp_path / f"{number}-saved")
        save_for_transformers(ours, saved, 512)
        same(load_tokenizer(saved), transformers.AutoTokenizer.from_pretrained(saved), texts, saved)
        assert load_tokenizer(saved).pieces(texts) == ours.pieces(texts), saved
        (saved / "tokenizer.json").unlink()
        if (json.loads((saved / "tokenizer_config.json").read_text())["tokenizer_class"]) == "BertTokenizer":
            assert load_tokenizer(saved).pieces(texts) == ours.pieces(texts), "vocab.txt and tokenizer_config.json"
    print(compared, len(refused), *[(r[0][-150:], str(r[1])[:60]) for r in refused], sep="\n")
    assert compared >= 2000
