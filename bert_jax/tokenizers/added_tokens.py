"""Tokens added to a vocabulary, and their special ones, from all files of a model directory that define them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken

from bert_jax.errors import InputError
from bert_jax.files import Json, Settings, read_json
from bert_jax.json_object import JsonObject

NAMES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
"""Names of BERT's special tokens in tokenizer files, in the order of `SpecialIds`."""
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Default text of the special tokens, in the same order."""
USUAL = dict(zip(NAMES, SPECIAL_TOKENS, strict=True))
"""The special tokens of a BertTokenizer by name, unless a file names others."""
_ORDER = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Names in the order in which transformers adds the tokens that the vocabulary lacks."""
_EXTRA, _ADDITIONAL = "extra_special_tokens", "additional_special_tokens"


class Added(NamedTuple):
    """Added tokens.

    stated: id -> token, for tokens whose id a file states. named: name (`cls_token`) -> token, or its text if no file
    gives its flags. extra: further special tokens, without a name.
    """

    stated: dict[int, AddedToken]
    named: dict[str, AddedToken | str]
    extra: list[AddedToken | str]

    def add_to(self, tokenizer: tokenizers.Tokenizer, file: Path) -> None:
        """Add the tokens to a tokenizer in the order of transformers.

        Raises:
            InputError: a token would get an id other than the stated one, or two tokens are equal once normalised.
        """
        tokens = [self.stated[id_] for id_ in sorted(self.stated)]
        known = {token.content for token in (*tokenizer.get_added_tokens_decoder().values(), *tokens)}
        for token in (*self.named.values(), *self.extra):
            if str(_content(token)) not in known:
                tokens.append(token if isinstance(token, AddedToken) else AddedToken(token, special=True))
                known.add(_content(token))
        special = {_content(token) for token in self.named.values()}
        for token in tokens:
            token.special = token.special or token.content in special
        tokenizer.add_tokens(tokens)
        _refuse_alike(tokenizer, file)
        for id_, token in self.stated.items():
            if (found := tokenizer.token_to_id(token.content)) != id_:
                raise InputError(
                    f"{file.parent}: the added token {token.content!r} is listed with the id {id_}, but the "
                    f"vocabulary {'cannot hold it' if found is None else f'gives it {found}'}: list it with that id"
                )


def _refuse_alike(tokenizer: tokenizers.Tokenizer, file: Path) -> None:
    """Refuse tokens with the same normalised text: the library matches one of them, and not the same in every run."""
    forms: dict[str, str] = {}
    for token in tokenizer.get_added_tokens_decoder().values():
        if token.normalized and tokenizer.normalizer is not None:
            form = tokenizer.normalizer.normalize_str(token.content)
            other = forms.setdefault(form, token.content)
            if not form or other != token.content:
                raise InputError(
                    f"{file.parent}: the added token {token.content!r} becomes {form!r} when it is normalised"
                    f"{f', as does {other!r}' if form else ''}, and cannot be told apart: set its normalized to false"
                )


def special_names(added: Added | None) -> tuple[str, ...]:
    """Return BERT's special tokens in the order of `NAMES`."""
    named = added.named if added else {}
    return tuple(_content(named.get(name, usual)) for name, usual in zip(NAMES, SPECIAL_TOKENS, strict=True))


def read_added(file: Path, content: Settings, usual: Settings = USUAL) -> Added:
    """Read the added tokens of a model directory.

    If tokenizer_config.json has an added_tokens_decoder, it alone defines them. Otherwise they come from
    special_tokens_map.json (which overrides tokenizer_config.json), added_tokens.json and tokenizer.json.

    Args:
        file: the vocabulary or tokenizer.json of the directory.
        content: parsed tokenizer.json; empty for a vocabulary.
        usual: special tokens that no file need name.

    Raises:
        InputError: a file cannot be read, or a token in it is malformed.
    """
    config = JsonObject.read(file.with_name("tokenizer_config.json"), optional=True)
    path, settings = config.path, dict(config.content)
    _check_kinds(config)
    extra = settings.pop(_EXTRA, None)
    if _ADDITIONAL in settings and not extra:
        extra = settings.pop(_ADDITIONAL)
    stated: dict[int, AddedToken] = {}
    decoder: Json | None = config.field("added_tokens_decoder", dict, None)
    if decoder is not None:
        stated = {_id(path, id_): _token(path, token) for id_, token in decoder.items()}
    else:
        extra = _merge_special_map(file.with_name("special_tokens_map.json"), settings, extra)
        stated = _listed(file.with_name("added_tokens.json"), settings, extra)
        stated |= {_id(file, row["id"]): _token(file, row) for row in content.get("added_tokens", [])}
    if extra is None:
        extra = settings.get(_ADDITIONAL)
    named = dict(usual) | _named(settings)
    if isinstance(extra, dict):
        named |= extra
        extra = None
    flags = {token.content: token for token in stated.values()}
    tokens = {name: _token(path, value, text=True) for name, value in _sorted(named)}
    tokens |= {
        name: flags[_content(token)] for name, token in tokens.items() if name in _ORDER and _content(token) in flags
    }
    return Added(stated, tokens, [_token(path, value, text=True) for value in extra or ()])


def _merge_special_map(path: Path, settings: Json, extra: Any) -> Any:
    """Merge special_tokens_map.json into the settings; returns the special tokens without a name."""
    found = JsonObject.read(path, optional=True)
    _check_kinds(found)
    for name, value in found.content.items():
        if name == _EXTRA and isinstance(value, list) and not isinstance(extra, dict):
            extra = [*(extra or ()), *(token for token in _as_special(value) if token not in (extra or ()))]
        elif name == _EXTRA:
            extra = value
        else:
            settings[name] = _as_special(value)
    return extra


def _check_kinds(file: JsonObject) -> None:
    """Refuse special tokens without a name that are not in a list; extra ones may have names, in an object."""
    file.field(_ADDITIONAL, list, None)
    if not isinstance(file.content.get(_EXTRA), dict):
        file.field(_EXTRA, list, None)


def _as_special(value: Any) -> Any:
    """Mark an entry of special_tokens_map.json (a text, a token, or a list of them) as special."""
    if isinstance(value, list):
        return [_as_special(one) for one in value]
    return {**value, "special": True} if isinstance(value, dict) else value


def _listed(path: Path, settings: Settings, extra: Any) -> dict[int, AddedToken]:
    """Read added_tokens.json; its tokens are special if another file lists them as special."""
    if not path.is_file():
        return {}
    others = extra if isinstance(extra, list) else []
    special = {_content(token) for token in (*(settings[name] for name in _ORDER if settings.get(name)), *others)}
    return {
        _id(path, id_): AddedToken(text, normalized=text not in special, special=text in special)
        for text, id_ in read_json(path).items()
    }


def _named(settings: Settings) -> Json:
    return {
        name: value
        for name, value in settings.items()
        if (name in _ORDER or name.endswith("_token")) and isinstance(value, str | dict)
    }


def _sorted(named: Settings) -> Iterable[tuple[str, Any]]:
    """Sort named tokens in the order of transformers, with a model's own names at the end."""
    return sorted(named.items(), key=lambda item: _ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER))


def _content(token: object) -> str:
    if isinstance(token, AddedToken):
        return token.content
    return str(token.get("content")) if isinstance(token, dict) else str(token)


def _id(path: Path, value: object) -> int:
    if isinstance(value, bool) or not str(value).isdecimal():
        raise InputError(f"{path}: the id {value!r} of an added token is not a whole number")
    return int(str(value))


_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def _token(path: Path, value: Any, text: bool = False) -> Any:
    """Parse a token: an object with its text and flags, or its text alone if `text` is true."""
    if text and isinstance(value, str):
        return value
    flags = {name: value[name] for name in _FLAGS if name in value} if isinstance(value, dict) else {}
    if not isinstance(value, dict) or not isinstance(value.get("content"), str) or not value["content"]:
        raise InputError(f"{path}: the added token {value!r} is not an object with a content")
    if wrong := [name for name, flag in flags.items() if not isinstance(flag, bool)]:
        raise InputError(f"{path}: {wrong[0]} of the added token {value['content']!r} must be true or false")
    return AddedToken(value["content"], **flags)
