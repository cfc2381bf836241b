"""Directories of byte-level BPE and unigram tokenizers over the settings that are honoured, beside transformers."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from subwords import BERT, CLASSES, TEXT, model_of, unigram, write_tokenizer
from tokenizers import AddedToken, pre_tokenizers, processors

from bert_jax.errors import InputError
from bert_jax.tokenizers.template import Template
from bert_jax.tokenizers.tokenizer import Tokenizer, fingerprint, load_tokenizer, train_sentencepiece
from bert_jax.tokenizers.tokenizer_json import save_for_transformers

DIRECTORIES, STRINGS = 210, 10
ADDABLE = [*"newword [E1] NewWord cat é 東京 <e2> x1 🙂".split(), "hello world"]
FRAGMENTS = [*ADDABLE, *" ".join(TEXT[:4]).split(), "<mask>", "[MASK]", "<s>", "[CLS]", "</s>", "<pad>", "<unk>NOTUSED"]
FRAGMENTS += ["e\u0301", "\u200b", "\x00", "\x85", "\u00ad", "\u00a0", "\u3000", "\u2028", "\t", "\n", "  ", "``", "''"]
FRAGMENTS += "日本 👍🏽 ﬁ Σς İ ไทย ① x\u0308 \ufb01".split()


def flags(rng: np.random.Generator, special: bool | None = None) -> dict[str, bool]:
    found = {name: bool(rng.random() < 0.4) for name in ("lstrip", "rstrip", "single_word")}
    return found | {"normalized": False, "special": bool(rng.random() < 0.5) if special is None else special}


def tokenizer_json(
    rng: np.random.Generator, kind: str, model: dict[str, Any], special: list[str], added: list[str]
) -> Any:
    library = tokenizers.Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    library.add_tokens([AddedToken(token, **flags(rng)) for token in added])
    content = json.loads(library.to_str())
    if kind == "modernbert":
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(rng.random() < 0.5))
        library.normalizer = tokenizers.normalizers.NFC()
        pair = "[CLS] $A [SEP] $B:1 [SEP]:1" if rng.random() < 0.5 else "[CLS] $A [SEP] [SEP] $B [SEP]"
        ends = [("[CLS]", 2), ("[SEP]", 3)]
        library.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, ends)
        return json.loads(library.to_str())
    if kind != "roberta" and rng.random() < 0.7:
        charsmap = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(unigram()[1]).decode()}
        content["normalizer"] = {"type": "Sequence", "normalizers": [charsmap]} if rng.random() < 0.5 else charsmap
    if kind == "albert" and rng.random() < 0.5:
        library.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        content["post_processor"] = json.loads(library.to_str())["post_processor"]
    return content


def write(folder: Path, files: dict[str, Any]) -> None:
    folder.mkdir()
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")


def directory(rng: np.random.Generator, kind: str, folder: Path) -> Path:
    """A directory with any of the files and settings."""
    model, special = model_of(kind)
    tokens = [str(t) for t in rng.permutation(ADDABLE)[: rng.integers(0, 5)]]
    config: dict[str, Any] = {"tokenizer_class": CLASSES[kind] + str(rng.choice(["", "Fast"]))}
    if kind == "modernbert":
        config = {"tokenizer_class": CLASSES[kind]} | dict(zip(("pad_token", "unk_token"), BERT[:2], strict=True))
        config |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    elif rng.random() < 0.3:
        del config["tokenizer_class"]
    for name in ("add_prefix_space", *(("do_lower_case", "keep_accents") if kind == "albert" else ())):
        if rng.random() < 0.6:
            config[name] = bool(rng.random() < 0.5)
    if rng.random() < 0.3 and kind != "modernbert":
        mask = "[MASK]" if kind == "albert" else "<mask>"
        config["mask_token"] = {"__type": "AddedToken", "content": mask, **flags(rng, True)}
    if rng.random() < 0.3:
        config[str(rng.choice(["additional_special_tokens", "extra_special_tokens"]))] = tokens[:2]
    inside = tokens * bool(rng.random() < 0.6)
    size, new = len(model["vocab"]), [token for token in tokens if token not in dict(model["vocab"])]
    files: dict[str, Any] = {"config.json": {"model_type": kind}}
    if kind == "roberta" and rng.random() < 0.4:
        files |= {"vocab.json": model["vocab"]}
        files["merges.txt"] = "#version: 0.2\n" + "".join(f"{' '.join(merge)}\n" for merge in model["merges"])
        if rng.random() < 0.5:
            files["added_tokens.json"] = {token: size + n for n, token in enumerate(new)}
    else:
        files["tokenizer.json"] = tokenizer_json(rng, kind, model, special, inside)
        if rng.random() < 0.4:
            config["added_tokens_decoder"] = {
                str(size + n): {"content": token, **flags(rng)} for n, token in enumerate(new)
            }
    files["tokenizer_config.json"] = config
    write(folder, files)
    return folder


def strings(rng: np.random.Generator, number: int = STRINGS) -> Iterator[str]:
    for _ in range(number):
        parts = rng.choice(FRAGMENTS, rng.integers(1, 12))
        yield "".join(str(part) + str(rng.choice(["", " "])) for part in parts)


def assert_same(ours: Tokenizer, theirs: Any, texts: list[str], where: object) -> None:
    pairs = texts[1:] + texts[:1]
    assert [ours.encode(text) for text in texts] == theirs(texts)["input_ids"], where
    assert [ours.encode(a, b) for a, b in zip(texts, pairs, strict=True)] == theirs(texts, pairs)["input_ids"], where
    short = theirs(texts, pairs, truncation=True, max_length=14)["input_ids"]
    assert [ours.encode(a, b, 14) for a, b in zip(texts, pairs, strict=True)] == short, where


@pytest.mark.filterwarnings("ignore:.*transformers' default counts:UserWarning")
def test_ids_are_those_of_transformers_over_all_settings(tmp_path: Path) -> None:
    """Equal for texts and for pairs, before and after saving."""
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    rng = np.random.default_rng(17)
    compared = 0
    for number in range(DIRECTORIES):
        kind = [*CLASSES][number % len(CLASSES)]
        folder, texts = directory(rng, kind, tmp_path / str(number)), list(strings(rng))
        ours = load_tokenizer(folder)
        assert_same(ours, transformers.AutoTokenizer.from_pretrained(folder), texts, folder)
        saved = tmp_path / f"{number}-saved"
        write(saved, {"config.json": {"model_type": kind}})
        save_for_transformers(ours, saved, 512)
        assert_same(ours, transformers.AutoTokenizer.from_pretrained(saved), texts, saved)
        again = load_tokenizer(saved)
        assert (again.pieces(texts), again.special, again.template) == (ours.pieces(texts), ours.special, ours.template)
        compared += len(texts)
    assert compared >= 2000


@pytest.mark.parametrize("kind", [*CLASSES, "distilbert", "electra"])
def test_ids_of_two_thousand_strings_of_every_architecture(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    if kind in CLASSES:
        write_tokenizer(tmp_path, kind)
    else:
        letters = sorted(set("".join(FRAGMENTS).lower()) - set(" \t\n\x00\x85"))
        pieces = [*BERT, *(t.lower() for t in TEXT[0].split()), *letters, *(f"##{letter}" for letter in letters)]
        (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in dict.fromkeys(pieces)), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    texts = list(strings(np.random.default_rng(5), 2000))
    ours, theirs = load_tokenizer(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len({text for text in texts if ours.encode(text)}) > 1900
    assert [ours.encode(text) for text in texts] == theirs(texts)["input_ids"]


def plain(kind: str, folder: Path, **config: object) -> Path:
    model, special = model_of(kind)
    content = tokenizer_json(np.random.default_rng(0), kind, model, special, [])
    write(folder, {"tokenizer.json": content, "tokenizer_config.json": {"tokenizer_class": CLASSES[kind], **config}})
    return folder


def test_first_token_and_template_are_the_tokenizers_own(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(plain("xlm-roberta", tmp_path / "xlm"))
    assert tokenizer.template == Template((0,), (2, 2), (2,), second=0)
    assert (tokenizer.special.cls, tokenizer.special.sep, tokenizer.special.pad) == (0, 2, 1)
    ids = tokenizer.encode("the cat", "the dog")
    assert ids[0] == 0 and ids.count(2) == 3 and ids[-1] == 2
    assert load_tokenizer(plain("albert", tmp_path / "albert")).template == Template((2,), (3,), (3,), second=1)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("roberta", {"add_prefix_space": "yes"}, "add_prefix_space is 'yes', and must be true or false"),
        ("albert", {"add_eos_token": True}, "add_eos_token is not supported"),
        ("albert", {"keep_accents": None}, "keep_accents is None"),
        ("camembert", {"split_special_tokens": True}, "split_special_tokens True is not supported"),
        ("xlm-roberta", {"padding_side": "left"}, "padding_side 'left' is not supported"),
        ("xlm-roberta", {"tokenizer_class": "RobertaTokenizer"}, "its model is 'Unigram', and must be 'BPE'"),
        ("roberta", {"tokenizer_class": "GPT2Tokenizer"}, "tokenizer_class GPT2Tokenizer is not supported; known are"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(kind, config, message, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_tokenizer(plain(kind, tmp_path / "model", **config))


def test_case_can_be_asked_for_where_the_class_has_it(tmp_path: Path) -> None:
    albert = plain("albert", tmp_path / "albert")
    lowered, cased = (load_tokenizer(albert, cased=cased).pieces(["Hello", "hello"]) for cased in (False, True))
    assert lowered[0] == lowered[1] == cased[1] != cased[0]
    with pytest.raises(InputError, match="a RobertaTokenizer treats case as it was trained to"):
        load_tokenizer(plain("roberta", tmp_path / "roberta"), cased=False)


def test_merges_are_needed_and_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    model, _ = model_of("roberta")
    write(tmp_path / "model", {"vocab.json": model["vocab"], "config.json": {"model_type": "roberta"}})
    with pytest.raises(InputError, match=r"needs merges\.txt beside it, and there is none"):
        load_tokenizer(tmp_path / "model")
    merges, found = tmp_path / "model" / "merges.txt", []
    for number in (0, len(model["merges"])):
        merges.write_text("".join(f"{' '.join(merge)}\n" for merge in model["merges"][:number]))
        found.append((fingerprint(tmp_path / "model"), len(load_tokenizer(tmp_path / "model").encode("the cat"))))
    assert found[0][0] != found[1][0] and found[0][1] > found[1][1]


def test_the_sentencepiece_model_of_another_library_stands_back(tmp_path: Path) -> None:
    """ALBERT's directories have a spiece.model beside tokenizer.json; ours have other control symbols in it."""
    folder = plain("albert", tmp_path / "albert")
    (folder / "spiece.model").write_bytes(b"not read")
    assert load_tokenizer(folder).special.cls == 2
    ours = tmp_path / "ours"
    ours.mkdir()
    save_for_transformers(train_sentencepiece(TEXT, 68), ours, 32)
    assert load_tokenizer(ours).casing == "case as its model says"
