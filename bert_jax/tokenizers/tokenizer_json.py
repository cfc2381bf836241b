"""Convert a SentencePiece model to a `tokenizer.json` for `transformers` and the `tokenizers` library."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from bert_jax.errors import InputError
from bert_jax.files import Json
from bert_jax.tokenizers.added_tokens import NAMES, SPECIAL_TOKENS
from bert_jax.tokenizers.subword_files import CONFIG
from bert_jax.tokenizers.tokenizer import SPACE, LibraryTokenizer, SentencePiece, Tokenizer

_PROTOS: ModuleType = sentencepiece_model_pb2  # its classes are created on import, unseen by type checkers
_Proto = Any
"""A message of `_PROTOS`."""


def to_fast(model: bytes) -> tokenizers.Tokenizer:
    """Convert a SentencePiece model to the `tokenizers` library, with [CLS] and [SEP] around each text.

    The ids equal those of SentencePiece except in three cases that the library cannot reproduce:

    - The name of a special token in a text ("[MASK]") becomes that token, as in BERT's own tokenizers; SentencePiece
      treats it as ordinary text.
    - Letters and their marks are composed (NFC) first; SentencePiece does not compose marks that are out of order.
    - Unigram scores are added in float64 instead of float32, which can decide between two segmentations whose scores
      are equal up to rounding.

    Args:
        model: a serialised SentencePiece model, unigram or BPE, as in `tokenizer.SentencePiece`.

    Raises:
        InputError: the library has no equivalent of this kind of model.
    """
    proto = _PROTOS.ModelProto.FromString(model)
    _check(proto)
    tokenizer = tokenizers.Tokenizer(_model(proto))
    tokenizer.normalizer = _normalizer(proto)
    # No piece extends across a space, so text can be split into words, which the library caches.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    tokenizer.decoder = decoders.Metaspace(SPACE, "always" if proto.normalizer_spec.add_dummy_prefix else "never")
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def _check(proto: _Proto) -> None:
    trainer = proto.trainer_spec
    problems = {
        f"its algorithm is {trainer.ModelType.Name(trainer.model_type).lower()}": trainer.model_type
        not in (trainer.UNIGRAM, trainer.BPE),
        "its pieces end and do not begin with a space": trainer.treat_whitespace_as_suffix,
        "its pieces extend across spaces": not trainer.split_by_whitespace,
        "it has pieces for bytes": trainer.byte_fallback,
        "it has symbols defined by a user": bool(trainer.user_defined_symbols),
        "its spaces are not escaped": not proto.normalizer_spec.escape_whitespaces,
    }
    if found := [problem for problem, there in problems.items() if there]:
        raise InputError(f"this SentencePiece model cannot be converted to an equal tokenizer.json: {'; '.join(found)}")


def _normalizer(proto: _Proto) -> normalizers.Normalizer:
    spec = proto.normalizer_spec
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        try:
            charsmap = normalizers.Precompiled(spec.precompiled_charsmap)
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"this SentencePiece model has normalisation rules that are damaged: {error}") from None
        # When a rule of the library matches a letter, it drops the marks on it. A control character between them
        # prevents that; the rules delete it.
        apart = normalizers.Replace(Regex(r"(?=[\p{M}\x{200C}\x{200D}])"), "\x01")
        steps += [normalizers.NFC(), *([] if charsmap.normalize_str("\x01") else [apart]), charsmap]
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(" "))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _model(proto: _Proto) -> models.Model:
    pieces = [piece.piece for piece in proto.pieces]
    if proto.trainer_spec.model_type == proto.trainer_spec.UNIGRAM:
        return models.Unigram([(piece.piece, piece.score) for piece in proto.pieces], unk_id=1, byte_fallback=False)
    vocabulary = {piece: id_ for id_, piece in enumerate(pieces)}
    return models.BPE(vocabulary, list(_merges(proto)), unk_token=pieces[1], fuse_unk=True)


def _merges(proto: _Proto) -> Iterator[tuple[str, str]]:
    """Every way to form a piece from two others, best piece first: a SentencePiece model stores no merges."""
    known = {piece.piece for piece in proto.pieces[5:]}
    for piece in sorted(proto.pieces[5:], key=lambda piece: -piece.score):
        text = piece.piece
        for left, right in ((text[:cut], text[cut:]) for cut in range(1, len(text))):
            if left in known and right in known:
                yield left, right


def save_for_transformers(tokenizer: Tokenizer, folder: Path, max_length: int, has_segments: bool = True) -> None:
    """Write the tokenizer's own files, and files from which `transformers` builds an equal tokenizer.

    Args:
        tokenizer: a SentencePiece or a WordPiece.
        folder: an existing model directory.
        max_length: length in tokens to which texts are truncated, special tokens included.
        has_segments: does the encoder have segment embeddings?
    """
    tokenizer.save(folder)
    names = dict(zip(NAMES, SPECIAL_TOKENS, strict=True))
    settings: Json = {"model_max_length": max_length, "tokenizer_class": "PreTrainedTokenizerFast"}
    if isinstance(tokenizer, SentencePiece):
        try:
            to_fast(tokenizer.model).save(str(folder / "tokenizer.json"))
        except InputError as error:
            warnings.warn(f"{folder} is saved without a tokenizer.json: {error}", stacklevel=2)
    elif isinstance(tokenizer, LibraryTokenizer):
        settings |= tokenizer.settings()
        names = {name: settings[name] for name in NAMES if name in settings}
    inputs = ["input_ids", *(["token_type_ids"] if has_segments else []), "attention_mask"]
    settings |= {**names, "model_input_names": inputs}
    write_json(folder / CONFIG, settings)
    write_json(folder / "special_tokens_map.json", names)


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
