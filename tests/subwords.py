"""Tiny byte-level BPE and unigram models, trained here, in the files of the encoders that have such tokenizers."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, models, pre_tokenizers, processors, trainers

from bert_jax.tokenizers.tokenizer import train_sentencepiece

TEXT = [
    "the cat sat on the mat and the dog ran to the café",
    "möchte you see 東京 or don't you see the cats' new hats",
    "Hello World, the New York cats sat; réunion über alles 42 times",
    "les chats sont très beaux, n'est-ce pas ? l'été à Paris",
] * 3
CLASSES = {
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "albert": "AlbertTokenizer",
    "modernbert": "PreTrainedTokenizerFast",
}
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>"]
CAMEMBERT = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"]
ALBERT = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@cache
def byte_level(*special: str) -> dict[str, Any]:
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"special_tokens": [*special], "initial_alphabet": alphabet, "show_progress": False}
    library.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=340, **options))
    model: dict[str, Any] = json.loads(library.to_str())["model"]
    return model


@cache
def unigram() -> tuple[list[tuple[str, float]], bytes]:
    """Pieces of a SentencePiece model, without its control symbols, and its map of characters."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(train_sentencepiece(TEXT, 68).model)
    return [(p.piece, p.score) for p in proto.pieces[5:]], proto.normalizer_spec.precompiled_charsmap


def model_of(kind: str) -> tuple[dict[str, Any], list[str]]:
    """The `model` of a tokenizer.json, and the special tokens in its vocabulary."""
    if kind in ("roberta", "modernbert"):
        special = [*ROBERTA, "<mask>"] if kind == "roberta" else BERT
        return byte_level(*special), special
    start = {"xlm-roberta": ROBERTA, "camembert": CAMEMBERT, "albert": ALBERT}[kind]
    vocabulary = [(name, 0.0) for name in start] + unigram()[0]
    if kind == "camembert":
        vocabulary += [("<s>", 0.0), ("</s>", 0.0)]
    if kind != "albert":
        vocabulary += [("<mask>", 0.0)]
    special = [
        name for name, _ in vocabulary if name.strip("<>[]") in ("s", "/s", "pad", "unk", "mask", "CLS", "SEP", "MASK")
    ]
    return {"type": "Unigram", "unk_id": start.index("<unk>"), "vocab": vocabulary, "byte_fallback": False}, special


def write_tokenizer(folder: Path, kind: str) -> int:
    """Write the tokenizer of an encoder; returns the number of its tokens."""
    model, special = model_of(kind)
    content = {"version": "1.0", "added_tokens": [], "model": model}
    library = tokenizers.Tokenizer.from_str(json.dumps(content))
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    config = {"tokenizer_class": CLASSES[kind]}
    if kind == "modernbert":
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.post_processor = processors.TemplateProcessing(
            "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
        )
        names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
        config |= dict(zip(names, BERT, strict=True))
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return library.get_vocab_size()
