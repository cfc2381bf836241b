"""Write a model directory anew for transformers or sentence-transformers.

python -m experiments.convert bert-base-uncased runs/bert --to sentence-transformers --pooling mean
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from bert_jax.card import CARD, carried_card, plain_card
from bert_jax.config import ReadoutConfig
from bert_jax.data.fast_tokenizer import save_for_transformers
from bert_jax.errors import InputError
from bert_jax.exchange import check_new, write_folder
from bert_jax.model.export import Tuned, resize_vocabulary, save_sentence_transformers
from bert_jax.model.huggingface import resolve, save_checkpoint
from bert_jax.pretrained import Pretrained, load, use_of
from experiments.cli import run


@dataclass(frozen=True)
class ConvertConfig:
    """Write a model for transformers or for sentence-transformers."""

    src: tyro.conf.Positional[str]
    """What bert_jax.load takes: a model directory or a hub id."""
    dst: tyro.conf.Positional[Path]
    """Directory to write; it must not be there, or be empty."""
    to: Literal["huggingface", "sentence-transformers"]
    """Which library is to open it."""
    pooling: str | None = None
    """For sentence-transformers: cls, mean, max, mean_sqrt_len, weightedmean, last_token, or several joined by +. By
    default the classifier of a model that has one, or else mean."""
    layers: str = "last"
    """For sentence-transformers: last, an index (-2), avg(1,-1)."""
    projection: Literal["none", "tanh"] = "none"
    """For sentence-transformers: none, or tanh for the checkpoint's own pooler."""
    max_length: int | None = None
    """Tokens that longer texts are cut to there; by default the encoder's limit."""
    pad_vocab_to: int | None = None
    """Fill the vocabulary up to a multiple of it, such as 8 or 128, for speed; 1 takes such filling away."""

    def __post_init__(self) -> None:
        if self.to == "huggingface" and (self.pooling, self.layers, self.projection) != (None, "last", "none"):
            raise InputError("--pooling, --layers and --projection have no place in transformers: leave them out")
        if self.max_length is not None and self.max_length < 3:
            raise InputError(f"--max-length {self.max_length}: at least 3 are needed, for [CLS], a word and [SEP]")
        if self.pad_vocab_to is not None and self.pad_vocab_to < 1:
            raise InputError(f"--pad-vocab-to {self.pad_vocab_to}: it must be at least 1; 8 and 128 are usual")


def main(config: ConvertConfig) -> None:
    """Convert as `config` says."""
    check_new(config.dst)
    source = resolve(config.src)
    model = load(source)
    limit = min(config.max_length or model.config.max_length, model.config.max_length)
    checkpoint = model.checkpoint
    if config.pad_vocab_to is not None:
        checkpoint = resize_vocabulary(checkpoint, model.tokenizer.vocab_size, config.pad_vocab_to)
    model = Pretrained(checkpoint, model.tokenizer)
    settings = _settings(source)
    tuned = _tuned(model, config, settings) if config.to == "sentence-transformers" else None
    use = "sentence-similarity" if tuned else use_of(checkpoint)

    def write(folder: Path) -> None:
        if tuned is None:
            kept: dict[str, Any] = {
                name: settings[name] for name in ("id2label", "label2id", "problem_type") if name in settings
            }
            save_checkpoint(folder, checkpoint, kept if checkpoint.classifier else None)
        else:
            save_sentence_transformers(folder, tuned, limit)
        save_for_transformers(model.tokenizer, folder, limit)
        (folder / CARD).write_text(_card(config, source, use, model), encoding="utf-8")

    write_folder(config.dst, write)
    print(f"wrote {config.dst} for {'transformers' if tuned is None else 'sentence-transformers'}")


def _tuned(model: Pretrained, config: ConvertConfig, settings: dict[str, Any]) -> Tuned:
    """What sentence-transformers is to have: the model's classifier, or a readout that the user names."""
    checkpoint = model.checkpoint
    if config.pooling is None and checkpoint.classifier is not None:
        if (config.layers, config.projection) != ("last", "none"):
            raise InputError("--layers and --projection are the classifier's own; name a --pooling to leave it out")
        labels = tuple(settings.get("id2label", {}).values())
        reader = {"projection": {"dense": checkpoint.pooler}}
        return Tuned(checkpoint, ReadoutConfig(projection="tanh"), reader, checkpoint.classifier, labels)
    readout = ReadoutConfig(config.layers, config.pooling or "mean", config.projection)
    return Tuned(checkpoint, readout, model.reader(readout))


def _settings(source: Path) -> dict[str, Any]:
    return json.loads((source / "config.json").read_text(encoding="utf-8"))


def _card(config: ConvertConfig, source: Path, use: str, model: Pretrained) -> str:
    """The card of the source, which says how the model was made and its licence, with a note; or a plain one."""
    readout = f"{config.layers}/{config.pooling or 'mean'}/{config.projection} (layers/pooling/projection)"
    note = f"Converted from {config.src if not Path(config.src).exists() else source.resolve().name} by bert_jax."
    if use == "sentence-similarity":
        note += f" The sentence is read as {readout}." if config.pooling or not model.checkpoint.classifier else ""
    if (source / CARD).is_file():
        return carried_card(source / CARD, use, note)
    return plain_card(config.dst.resolve().name, use, model.config, note)


if __name__ == "__main__":
    run(main, ConvertConfig)
