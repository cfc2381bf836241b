"""Build the byte-level BPE and SentencePiece tokenizers of RoBERTa, XLM-RoBERTa, CamemBERT and ALBERT from their files.

The rules are those of transformers 5.23, whose classes take the vocabulary, the merges and the map of characters from
tokenizer.json, the added tokens from all files, and everything else from tokenizer_config.json.
"""

import base64
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from bert_jax.errors import InputError
from bert_jax.files import Json, Settings, read_json
from bert_jax.tokenizers.added_tokens import Added, read_added

CONFIG = "tokenizer_config.json"
MERGES = "merges.txt"

_SPACE = "\u2581"
_ROBERTA = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_ALBERT = _ROBERTA | {
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
    "sep_token": "[SEP]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_UNUSED = ("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED")
"""CamemBERT's additional special tokens where no file names any."""


class Source(NamedTuple):
    """The files of a tokenizer. file: the first of them; content: of tokenizer.json; settings: of its config."""

    file: Path
    content: Json
    settings: Settings
    added: Added

    def flag(self, name: str, default: bool) -> bool:
        """A setting that is true or false.

        Raises:
            InputError: it is something else.
        """
        value = self.settings.get(name, default)
        if not isinstance(value, bool):
            raise InputError(f"{self.file.with_name(CONFIG)}: {name} is {value!r}, and must be true or false")
        return value

    def token(self, name: str) -> str:
        """The text of a special token."""
        return str(getattr(self.added.named[name], "content", self.added.named[name]))


class Subwords(NamedTuple):
    """A class of transformers.

    named, extra: its special tokens where no file names others. build: makes the tokenizer without added tokens.
    template: makes the post-processor with the special tokens around texts.
    """

    named: Mapping[str, str]
    build: Callable[[Source], tokenizers.Tokenizer]
    template: Callable[[tokenizers.Tokenizer, Source], processors.PostProcessor]
    extra: tuple[str, ...] = ()


def build(name: str, file: Path, settings: Settings, cased: bool | None) -> tuple[tokenizers.Tokenizer, Added]:
    """Build the tokenizer of the class `name`, one of `SUBWORDS`.

    Raises:
        InputError: a file cannot be read, or a setting is not supported.
    """
    if cased is not None and name != "AlbertTokenizer":
        raise InputError(f"{file}: a {name} treats case as it was trained to; leave the setting out")
    if cased is not None:
        settings = {**settings, "do_lower_case": not cased}
    kind = SUBWORDS[name]
    content = read_json(file) if file.name != "vocab.json" else {}
    added = read_added(file, content, kind.named)
    if kind.extra and not added.extra and not {"extra_special_tokens", "additional_special_tokens"} & set(settings):
        added = added._replace(extra=list(kind.extra))
    mask = added.named["mask_token"]
    if kind.extra and isinstance(mask, str):
        added.named["mask_token"] = AddedToken(mask, lstrip=True, special=True)
    source = Source(file, content, settings, added)
    _warn_of_prefix_space(source)
    try:
        tokenizer = kind.build(source)
    except InputError:
        raise
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{file} is not a readable tokenizer: {error}") from error
    added.add_to(tokenizer, file)
    tokenizer.post_processor = kind.template(tokenizer, source)
    return tokenizer, added


def _warn_of_prefix_space(source: Source) -> None:
    """Warn if tokenizer.json has a space before the first word that tokenizer_config.json does not ask for."""
    stated = (source.content.get("pre_tokenizer") or {}).get("add_prefix_space")
    if stated and "add_prefix_space" not in source.settings:
        warnings.warn(
            f"{source.file} has add_prefix_space true, but {CONFIG} does not say so, and then transformers' default "
            f"counts (false); write it in {CONFIG} if it is meant",
            stacklevel=5,
        )


def _model(source: Source, kind: str) -> Json:
    model: Json = source.content.get("model") or {}
    # Older files have no type.
    if model.get("type", kind) != kind or "vocab" not in model:
        raise InputError(f"{source.file}: its model is {model.get('type')!r}, and must be {kind!r} with a vocab")
    return model


def _byte_level(source: Source) -> tokenizers.Tokenizer:
    if source.file.name == "vocab.json":
        merges_file = source.file.with_name(MERGES)
        if not merges_file.is_file():
            raise InputError(f"{source.file} needs {MERGES} beside it, and there is none")
        vocabulary, merges = models.BPE.read_file(str(source.file), str(merges_file))
    else:
        model = _model(source, "BPE")
        vocabulary = model["vocab"]
        merges = [_merge(merge) for merge in model["merges"]]
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=source.flag("add_prefix_space", False))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _merge(merge: str | list[str]) -> tuple[str, str]:
    """The two parts of a merge, between which older files have a space."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _numbered(tokenizer: tokenizers.Tokenizer, text: str) -> tuple[str, int]:
    number = tokenizer.token_to_id(text)
    assert number is not None, "special tokens are added before"
    return text, number


def _roberta_template(tokenizer: tokenizers.Tokenizer, source: Source) -> processors.PostProcessor:
    sep, cls = (_numbered(tokenizer, source.token(name)) for name in ("sep_token", "cls_token"))
    return processors.RobertaProcessing(sep, cls)


def _unigram(source: Source, unk_id: int, before: list[normalizers.Normalizer]) -> tokenizers.Tokenizer:
    """A SentencePiece unigram model, whose text is split at white space; `before`: normalisers in front of its own."""
    vocabulary = [(piece, score) for piece, score in _model(source, "Unigram")["vocab"]]
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=unk_id, byte_fallback=False))
    characters = _character_map(source.content)
    steps = [*before, *([normalizers.Precompiled(characters)] if characters is not None else [])]
    if steps:
        tokenizer.normalizer = steps[0] if len(steps) == 1 else normalizers.Sequence(steps)
    scheme = "always" if source.flag("add_prefix_space", True) else "never"
    metaspace = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=scheme)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme=scheme)
    return tokenizer


def _character_map(content: Settings) -> bytes | None:
    """The first map of characters among the normalisers of a tokenizer.json."""
    normalizer = content.get("normalizer") or {}
    steps = normalizer.get("normalizers", []) if normalizer.get("type") == "Sequence" else [normalizer]
    maps = (step["precompiled_charsmap"] for step in steps if step.get("type") == "Precompiled")
    found = next(maps, None)
    return None if found is None else base64.b64decode(found)


def _xlm_roberta(source: Source) -> tokenizers.Tokenizer:
    return _unigram(source, 3, [])


def _camembert(source: Source) -> tokenizers.Tokenizer:
    pieces = [piece for piece, _ in _model(source, "Unigram")["vocab"]]
    unk = source.token("unk_token")
    return _unigram(source, pieces.index(unk) if unk in pieces else 0, [])


def _albert(source: Source) -> tokenizers.Tokenizer:
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not source.flag("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if source.flag("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    return _unigram(source, 1, steps)


def _between_ends(tokenizer: tokenizers.Tokenizer, source: Source) -> processors.PostProcessor:
    bos, eos = source.token("bos_token"), source.token("eos_token")
    return processors.TemplateProcessing(
        single=[bos, "$A", eos],
        pair=[bos, "$A", eos, eos, "$B", eos],
        special_tokens=[_numbered(tokenizer, text) for text in (bos, eos)],
    )


def _albert_template(tokenizer: tokenizers.Tokenizer, source: Source) -> processors.PostProcessor:
    """The post-processor of tokenizer.json, if it has one."""
    for name in ("add_bos_token", "add_eos_token"):
        if source.settings.get(name) is not None:
            raise InputError(f"{source.file.with_name(CONFIG)}: {name} is not supported; leave it out")
    if source.content.get("post_processor"):
        found: processors.PostProcessor = tokenizers.Tokenizer.from_str(json.dumps(source.content)).post_processor
        return found
    cls, sep = (_numbered(tokenizer, source.token(name))[1] for name in ("cls_token", "sep_token"))
    return processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )


SUBWORDS = {
    "RobertaTokenizer": Subwords(_ROBERTA, _byte_level, _roberta_template),
    "XLMRobertaTokenizer": Subwords(_ROBERTA, _xlm_roberta, _between_ends),
    "CamembertTokenizer": Subwords(_ROBERTA, _camembert, _between_ends, _UNUSED),
    "AlbertTokenizer": Subwords(_ALBERT, _albert, _albert_template),
}
"""Class of transformers, without the suffix Fast -> how it is built."""
