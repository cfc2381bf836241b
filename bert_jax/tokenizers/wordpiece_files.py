"""Build a tokenizer from the files of a model directory, with the ids of `transformers.AutoTokenizer`.

The rules are those of transformers 5.23: its BertTokenizer reads only the vocabulary and the added tokens from
tokenizer.json, and everything else from tokenizer_config.json; its PreTrainedTokenizerFast uses tokenizer.json as is.
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
from bert_jax.files import Json, Settings, read_json
from bert_jax.tokenizers.added_tokens import NAMES, USUAL, Added, read_added, special_names
from bert_jax.tokenizers.subword_files import CONFIG, SUBWORDS
from bert_jax.tokenizers.subword_files import build as build_subwords
from bert_jax.tokenizers.template import Template, read_template

_WHITE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""Unicode white space that the `tokenizers` library strips from the end of a line; `str.rstrip` strips more."""

_BERT = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "LxmertTokenizer")
"""Classes of transformers that equal BertTokenizer and are rebuilt from a vocabulary, also with the suffix Fast."""
_USED_AS_IS = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of transformers that use a tokenizer.json as is."""
_CLASS_OF = {
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "albert": "AlbertTokenizer",
    "modernbert": "TokenizersBackend",
}
"""model_type in config.json -> class if no file names one; BertTokenizer for all others. ModernBERT has no other."""

_HIGHEST = 1 << 24
"""Ids above this limit mean a damaged file; an embedding matrix of that many rows would exhaust memory."""

_FIXED: dict[str, tuple[object, ...]] = {
    "do_basic_tokenize": (True, None),
    "never_split": (None, []),
    "clean_text": (True, None),
    "wordpieces_prefix": ("##", None),
    "split_special_tokens": (False, None),
    "truncation_side": ("right", None),
    "padding_side": ("right", None),
}
"""Setting of tokenizer_config.json -> its supported values, which are the defaults."""


class Parts(NamedTuple):
    """A tokenizer of the library, its special tokens (in the order of `NAMES`), and its case handling in words.

    template: what it puts around texts; None for BERT's.
    """

    tokenizer: tokenizers.Tokenizer
    names: tuple[str, ...]
    casing: str
    template: Template | None = None


def read_parts(file: Path, cased: bool | None = None) -> Parts:
    """Read a tokenizer from a `tokenizer.json` or a vocabulary, with the settings in the files beside it.

    Args:
        file: `tokenizer.json`, `vocab.json` with merges.txt beside it, or a vocabulary with one token per line.
        cased: True to keep capitals, False to lowercase, None to follow the files.

    Raises:
        InputError: a file cannot be read, or holds a setting that is not supported.
    """
    config = file.with_name(CONFIG)
    settings = read_json(config) if config.is_file() else {}
    _refuse_unknown(config, settings)
    found = _class(file, settings)
    if found in SUBWORDS and file.suffix == ".json":
        casing = f"case as {file.name} says" if cased is None else f"{'cased' if cased else 'lowercased'} (as asked)"
        tokenizer, more = build_subwords(found, file, settings, cased)
        return _with_template(file, tokenizer, casing, more)
    if file.suffix != ".json" or file.name == "vocab.json":
        if file.name == "vocab.json" or found in SUBWORDS:
            raise InputError(f"{config}: a {found} needs a tokenizer.json, and there is none")
        if found in _USED_AS_IS:
            raise InputError(f"{config}: tokenizer_class {found} needs a tokenizer.json, and there is none")
        return _build(file, read_vocabulary(file), settings, _decide_case(file, settings, cased), read_added(file, {}))
    library, content = _read_json(file)
    is_bare = not config.is_file() and not file.with_name("config.json").is_file()
    if found in _USED_AS_IS or is_bare:
        added = None if is_bare else read_added(file, content, {} if found in _USED_AS_IS else USUAL)
        return _use_as_is(file, library, cased, added)
    described = json.loads(library.to_str())
    if other := differences(described):
        raise InputError(
            f"{file} has {'; '.join(other)}, which transformers' {found} ignores. If the file is right, set "
            f'"tokenizer_class": "PreTrainedTokenizerFast" in {CONFIG}'
        )
    stated = settings if cased is None else settings | {"do_lower_case": not cased}
    _warn_of_defaults(file, described["normalizer"], stated)
    case = _decide_case(None, settings, cased)
    return _build(file, described["model"]["vocab"], settings, case, read_added(file, content))


def read_vocabulary(path: Path) -> dict[str, int]:
    """Read a vocabulary: token -> number of its (last) line. Every number up to the last line is assigned.

    Raises:
        InputError: the file does not exist or is not UTF-8.
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
    """Fill gaps in the ids, up to at least `size`, with tokens that match no text.

    A duplicate or blank line leaves a gap, and the library takes the number of tokens for the highest id plus one.
    """
    filled = dict(vocabulary)
    for number in sorted(set(range(max([size, *(id_ + 1 for id_ in filled.values())]))) - set(filled.values())):
        name = f"{_FILLING}{number}]"
        while name in filled:
            name += "]"
        filled[name] = number
    return filled


_FILLING = "[unused line "
"""Prefix of filling tokens. BERT splits text at spaces and brackets, so these tokens match no text."""


def trim(vocabulary: Mapping[str, int], size: int) -> dict[str, int]:
    """Remove the filling tokens at the end of a vocabulary whose ids are `size` or more (blank lines of a file)."""
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    while len(names) > size and names[-1].startswith(_FILLING):
        names.pop()
    return {name: vocabulary[name] for name in names}


def write_vocabulary(path: Path, vocabulary: Mapping[str, int]) -> None:
    """Write a vocabulary with one token per line, each on the line of its id."""
    on_a_line = {token: id_ for token, id_ in vocabulary.items() if token and "\n" not in token}
    kept = {token: id_ for token, id_ in on_a_line.items() if token == token.rstrip(_WHITE)}
    names = fill(kept, max(vocabulary.values(), default=-1) + 1)
    path.write_text(
        "".join(f"{name}\n" for name in sorted(names, key=names.__getitem__)), encoding="utf-8", newline="\n"
    )


def differences(described: Settings) -> list[str]:
    """Describe the parts of a tokenizer.json that differ from a BertTokenizer's."""
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
        raise InputError(f"{file}: its highest id is {highest}, too large for a vocabulary; get the file again")
    return library, content


def _refuse_unknown(config: Path, settings: Settings) -> None:
    for field, honoured in _FIXED.items():
        if field in settings and settings[field] not in honoured:
            raise InputError(f"{config}: {field} {settings[field]!r} is not supported; only {honoured[0]!r} is")
    for field in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        if not isinstance(settings.get(field), bool | None):
            raise InputError(f"{config}: {field} is {settings[field]!r}, and must be true or false")


def _class(file: Path, settings: Settings) -> str:
    """Return the transformers class that a directory names, without the suffix Fast, or that of its model_type."""
    path = file.with_name("config.json")
    config = read_json(path) if path.is_file() else {}
    kind = str(config.get("model_type"))
    named = settings.get("tokenizer_class") or config.get("tokenizer_class")
    name = str(named or _CLASS_OF.get(kind, "BertTokenizer"))
    plain = name if name in _USED_AS_IS else name.removesuffix("Fast")
    if _CLASS_OF.get(kind) in _USED_AS_IS:
        return _CLASS_OF[kind]
    if plain not in (known := (*_BERT, *SUBWORDS, *_USED_AS_IS)):
        where = file.with_name(CONFIG) if settings.get("tokenizer_class") else path
        raise InputError(f"{where}: tokenizer_class {name} is not supported; known are {', '.join(known)}")
    return plain


def is_foreign(file: Path) -> bool:
    """True for the SentencePiece model of a class of transformers that reads its tokenizer.json."""
    config = file.with_name(CONFIG)
    return _class(file, read_json(config) if config.is_file() else {}) in SUBWORDS


def _decide_case(vocabulary: Path | None, settings: Settings, cased: bool | None) -> tuple[bool, str]:
    """Decide whether text is lowercased: as asked, else as stated, else by the vocabulary if given. Adds the reason."""
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
        why = f"no word piece of {vocabulary.name} has a capital"
        if not lowercase:
            why = f"{vocabulary.name} has {word!r} and no file says do_lower_case"
            warnings.warn(
                f"{vocabulary}: taken as cased, because of {word!r}; transformers lowercases texts where no file says "
                f"do_lower_case, and has other ids: write it in {CONFIG}",
                stacklevel=5,
            )
    return lowercase, f"{'lowercased' if lowercase else 'cased'} ({why})"


def first_capitalized(vocabulary: Iterable[str]) -> str | None:
    """Return the first word piece with a capital letter, if any.

    Only pieces made of letters count, unlike [UNK] and <S>. Scripts above Armenian (Cherokee, Georgian) are ignored:
    they gained upper case after BERT's vocabularies were made.
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
"""Field of BertNormalizer, its name in tokenizer_config.json, and transformers' default."""


def _warn_of_defaults(file: Path, normalizer: Settings, stated: Settings) -> None:
    """Warn if a setting of tokenizer.json is overruled by the default of a setting that tokenizer_config.json omits."""
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
    """Build a BertTokenizer from a vocabulary."""
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


def _use_as_is(file: Path, tokenizer: tokenizers.Tokenizer, cased: bool | None, added: Added | None) -> Parts:
    """Return a tokenizer.json as is; `added` is None if it is the only file, and then only its ids are checked."""
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
    return _with_template(file, tokenizer, casing, added)


def _with_template(file: Path, tokenizer: tokenizers.Tokenizer, casing: str, added: Added) -> Parts:
    """Return a tokenizer with the template in its post-processor, which says what [CLS] and [SEP] are."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    template = read_template(tokenizer, file)
    names = dict(zip(NAMES, special_names(added), strict=True))
    ends = {"cls_token": template.start[0], "sep_token": template.end[0]}
    names |= {name: str(tokenizer.id_to_token(id_)) for name, id_ in ends.items()}
    return Parts(tokenizer, tuple(names.values()), casing, template)
