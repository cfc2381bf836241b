"""A WordPiece tokenizer from the files of a model directory, with the ids that `transformers.AutoTokenizer` gives.

The rules are those of transformers 5.23: its BertTokenizer takes nothing but the vocabulary and the added tokens from a
tokenizer.json, and everything else from tokenizer_config.json; its PreTrainedTokenizerFast takes the file as it is.
"""

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import tokenizers
from tokenizers import decoders
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bert_jax.errors import InputError
from bert_jax.files import Json, Settings
from bert_jax.tokenizers.added_tokens import (
    NAMES,
    Added,
    json_object,
    read_added,
    special_names,
)

CONFIG = "tokenizer_config.json"
_WHITE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""White space of Unicode, which the `tokenizers` library takes from the end of a line; `str.rstrip` takes more."""

_BERT = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "LxmertTokenizer")
"""Classes of transformers that are a BertTokenizer, built anew from a vocabulary; with Fast behind the name, too."""
_AS_IT_IS = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of transformers that take a tokenizer.json as it is."""

_HIGHEST = 1 << 24
"""Ids beyond it are damage; a matrix of embeddings with such a row would fill a machine."""

_FIXED: dict[str, tuple[object, ...]] = {
    "do_basic_tokenize": (True, None),
    "never_split": (None, []),
    "clean_text": (True, None),
    "wordpieces_prefix": ("##", None),
    "split_special_tokens": (False, None),
    "truncation_side": ("right", None),
    "padding_side": ("right", None),
}
"""Settings of tokenizer_config.json -> the values that can be honoured, which are the default ones."""


class Parts(NamedTuple):
    """A tokenizer of the library, the names of its special tokens (in the order of `NAMES`), and its case in words."""

    tokenizer: tokenizers.Tokenizer
    names: tuple[str, ...]
    casing: str


def read_parts(file: Path, cased: bool | None = None) -> Parts:
    """The tokenizer of a `tokenizer.json` or a vocabulary, with the settings in the files beside it.

    Args:
        file: `*.json`, or a vocabulary with a token a line.
        cased: keep capitals, or lowercase; None for what the files say.

    Raises:
        InputError: a file cannot be read, or holds a setting that cannot be honoured.
    """
    config = file.with_name(CONFIG)
    settings = json_object(config) if config.is_file() else {}
    _refuse_unknown(config, settings)
    found = _class(file, settings)
    if file.suffix != ".json":
        if found in _AS_IT_IS:
            raise InputError(f"{config}: tokenizer_class {found} needs a tokenizer.json, and there is none")
        return _build(file, read_vocabulary(file), settings, _decide_case(file, settings, cased), read_added(file, {}))
    library, content = _read_json(file)
    is_bare = not config.is_file() and not file.with_name("config.json").is_file()
    if found in _AS_IT_IS or is_bare:
        added = None if is_bare else read_added(file, content, usual=found not in _AS_IT_IS)
        return _as_it_is(file, library, cased, added)
    described = json.loads(library.to_str())
    if other := differences(described):
        raise InputError(
            f"{file} has {'; '.join(other)}, which transformers' {found} passes over. If the file is right, say "
            f'"tokenizer_class": "PreTrainedTokenizerFast" in {CONFIG}'
        )
    stated = settings if cased is None else settings | {"do_lower_case": not cased}
    _warn_of_defaults(file, described["normalizer"], stated)
    case = _decide_case(None, settings, cased)
    return _build(file, described["model"]["vocab"], settings, case, read_added(file, content))


def read_vocabulary(path: Path) -> dict[str, int]:
    """Token -> number of its line, the last one that it stands on. Every number up to the last line is taken.

    Raises:
        InputError: there is no such file, or it is not UTF-8.
    """
    if not path.is_file():
        raise InputError(f"there is no vocabulary {path}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a usable vocabulary: it is not UTF-8 ({error})") from error
    lines = [line.rstrip(_WHITE) for line in text.split("\n")]
    if lines[-1] == "":
        lines.pop()
    vocabulary = {line: number for number, line in enumerate(lines) if line}
    return fill(vocabulary, len(lines))


def fill(vocabulary: Mapping[str, int], size: int) -> dict[str, int]:
    """A vocabulary in which ids that no token has get one that no text contains; those at the end up to `size`.

    A duplicate or blank line leaves such an id. The library counts tokens where it should go by the highest id.
    """
    filled = dict(vocabulary)
    for number in sorted(set(range(max([size, *(id_ + 1 for id_ in filled.values())]))) - set(filled.values())):
        name = f"{_FILLING}{number}]"
        while name in filled:
            name += "]"
        filled[name] = number
    return filled


_FILLING = "[unused line "
"""How a token begins that fills an id. BERT cuts words at spaces and brackets: none is ever found in a text."""


def trim(vocabulary: Mapping[str, int], size: int) -> dict[str, int]:
    """A vocabulary without the filling at its end, as far as that lies at `size` or above: blank lines of a file."""
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    while len(names) > size and names[-1].startswith(_FILLING):
        names.pop()
    return {name: vocabulary[name] for name in names}


def write_vocabulary(path: Path, vocabulary: Mapping[str, int]) -> None:
    """Write a vocabulary with a token a line, each on the line of its id."""
    on_a_line = {token: id_ for token, id_ in vocabulary.items() if token and "\n" not in token}
    kept = {token: id_ for token, id_ in on_a_line.items() if token == token.rstrip(_WHITE)}
    names = fill(kept, max(vocabulary.values(), default=-1) + 1)
    path.write_text(
        "".join(f"{name}\n" for name in sorted(names, key=names.__getitem__)), encoding="utf-8", newline="\n"
    )


def differences(described: Settings) -> list[str]:
    """Parts of a tokenizer.json that are others than a BertTokenizer's, in words."""
    normalizer, cutter, model = (described.get(part) or {} for part in ("normalizer", "pre_tokenizer", "model"))
    kinds = (
        ("normalizer", normalizer.get("type"), "BertNormalizer"),
        ("normalizer.clean_text", normalizer.get("clean_text", True), True),
        ("pre_tokenizer", cutter.get("type"), "BertPreTokenizer"),
        ("model", model.get("type"), "WordPiece"),
        ("model.continuing_subword_prefix", model.get("continuing_subword_prefix", "##"), "##"),
        ("model.max_input_chars_per_word", model.get("max_input_chars_per_word", 100), 100),
    )
    return [f"{field} {found!r} where BERT has {usual!r}" for field, found, usual in kinds if found != usual]


def _read_json(file: Path) -> tuple[tokenizers.Tokenizer, Json]:
    try:
        library, content = tokenizers.Tokenizer.from_file(str(file)), json.loads(file.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{file} is not a readable tokenizer: {error}") from error
    if (highest := max(library.get_vocab().values(), default=0)) > _HIGHEST:
        raise InputError(f"{file}: an id is {highest}, and no vocabulary is as large as that")
    return library, content


def _refuse_unknown(config: Path, settings: Settings) -> None:
    for field, honoured in _FIXED.items():
        if field in settings and settings[field] not in honoured:
            raise InputError(f"{config}: {field} {settings[field]!r} cannot be honoured; {honoured[0]!r} can")
    for field in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        if settings.get(field) not in (True, False, None):
            raise InputError(f"{config}: {field} is {settings[field]!r}, and must be true or false")


def _class(file: Path, settings: Settings) -> str:
    """The class of transformers that a directory names, without Fast at its end; BertTokenizer where it names none."""
    config = file.with_name("config.json")
    named = settings.get("tokenizer_class") or (json_object(config) if config.is_file() else {}).get("tokenizer_class")
    name = str(named or "BertTokenizer")
    plain = name if name in _AS_IT_IS else name.removesuffix("Fast")
    if plain not in (*_BERT, *_AS_IT_IS):
        where = file.with_name(CONFIG) if settings.get("tokenizer_class") else config
        raise InputError(f"{where}: tokenizer_class {name} is not BERT's; known are {', '.join((*_BERT, *_AS_IT_IS))}")
    return plain


def _decide_case(vocabulary: Path | None, settings: Settings, cased: bool | None) -> tuple[bool, str]:
    """Whether text is lowercased, and why, in words: as asked, else as stated, else by the vocabulary, if given."""
    stated = settings.get("do_lower_case")
    if cased is not None:
        lowercase, why = not cased, "as asked"
    elif stated is not None:
        lowercase, why = bool(stated), f"do_lower_case of {CONFIG}"
    elif vocabulary is None:
        lowercase, why = True, f"{CONFIG} does not say do_lower_case, and transformers' default is true"
    else:
        word = first_capitalized(read_vocabulary(vocabulary))
        lowercase = word is None
        why = f"no word piece of {vocabulary.name} has a capital" if lowercase else f"{vocabulary.name} has {word!r}"
    return lowercase, f"{'lowercased' if lowercase else 'cased'} ({why})"


def first_capitalized(vocabulary: Iterable[str]) -> str | None:
    """The first ordinary word piece with a capital, if there is one: letters and nothing else, unlike [UNK] and <S>.

    Scripts beyond Armenian (Cherokee, Georgian) got their two cases after BERT's vocabularies were made.
    """
    return next(
        (
            piece
            for piece in vocabulary
            if piece.removeprefix("##").isalpha() and any(c.isupper() and c < "\u0590" for c in piece)
        ),
        None,
    )


_NORMALIZER = (
    ("lowercase", "do_lower_case", True),
    ("strip_accents", "strip_accents", None),
    ("handle_chinese_chars", "tokenize_chinese_chars", True),
)
"""A field of BertNormalizer, how tokenizer_config.json calls it, and transformers' default."""


def _warn_of_defaults(file: Path, normalizer: Settings, stated: Settings) -> None:
    """Warn where a tokenizer.json is overruled, not by tokenizer_config.json, but by the default of what that omits."""
    vain = [
        f"{setting} {json.dumps(normalizer[field])}"
        for field, setting, default in _NORMALIZER
        if stated.get(setting) is None and normalizer[field] != default
    ]
    if vain:
        warnings.warn(
            f"{file} has {', '.join(vain)}, but {CONFIG} does not say so, and then transformers' default counts "
            f"(true, null, true); write it in {CONFIG} if it is meant",
            stacklevel=5,
        )


def _build(
    file: Path, vocabulary: Mapping[str, int], settings: Settings, case: tuple[bool, str], added: Added
) -> Parts:
    """A BertTokenizer of a vocabulary."""
    names = special_names(added)
    known = {*vocabulary, *(str(token.content) for token in added.stated.values())}
    if missing := [name for name in names if name not in known]:
        raise InputError(f"{file}: the vocabulary has no {', '.join(missing)}: a BERT tokenizer needs them")
    new = [id_ for id_, token in added.stated.items() if token.content not in vocabulary]
    vocabulary = trim(fill(vocabulary, 0), min(new, default=0))
    tokenizer = tokenizers.Tokenizer(WordPiece(dict(vocabulary), unk_token=names[NAMES.index("unk_token")]))
    tokenizer.normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars") is not False,
        strip_accents=settings.get("strip_accents"),
        lowercase=case[0],
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    added.add_to(tokenizer, file)
    return Parts(tokenizer, names, case[1])


def _as_it_is(file: Path, tokenizer: tokenizers.Tokenizer, cased: bool | None, added: Added | None) -> Parts:
    """What a tokenizer.json holds; without `added`, the file stands alone and only its ids are checked."""
    casing = f"case as {file.name} says"
    if cased is not None:
        if not isinstance(tokenizer.normalizer, BertNormalizer):
            raise InputError(f"{file}: its case cannot be changed, as its normalizer is not a BertNormalizer")
        described = json.loads(tokenizer.to_str())["normalizer"]
        options = {name: value for name, value in described.items() if name != "type"} | {"lowercase": not cased}
        tokenizer.normalizer = BertNormalizer(**options)
        casing = f"{'cased' if cased else 'lowercased'} (as asked)"
    if added is None:
        return Parts(tokenizer, special_names(None), casing)
    added.add_to(tokenizer, file)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    a = tokenizer.encode("a", add_special_tokens=False).ids
    one, two = tokenizer.encode("a"), tokenizer.encode("a", "a")
    cls, sep = one.ids[:1], one.ids[-1:]
    segments = [0] * (len(a) + 2) + [1] * (len(a) + 1)
    if (one.ids, two.ids, two.type_ids) != (cls + a + sep, cls + a + sep + a + sep, segments):
        raise InputError(f"{file}: its post_processor does not make [CLS] a [SEP] b [SEP] of two texts, as BERT does")
    names = dict(zip(NAMES, special_names(added), strict=True))
    names |= {"cls_token": one.tokens[0], "sep_token": one.tokens[-1]}
    return Parts(tokenizer, tuple(names.values()), casing)
