"""Convert a model directory for transformers or sentence-transformers.

python -m experiments.convert bert-base-uncased runs/bert --to sentence-transformers --pooling mean
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from bert_jax.checkpoints.card import CARD, carried_card, plain_card, use_of
from bert_jax.checkpoints.directory import resolve
from bert_jax.checkpoints.exchange import check_new
from bert_jax.checkpoints.export import Tuned, resize_vocabulary, save_sentence_transformers
from bert_jax.checkpoints.huggingface import save_checkpoint
from bert_jax.errors import InputError
from bert_jax.files import write_folder
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers.tokenizer_json import save_for_transformers
from experiments.cli import run
from experiments.encoders import Case, load_encoder


@dataclass(frozen=True)
class ConvertConfig:
    """Write a model for transformers or for sentence-transformers."""

    src: tyro.conf.Positional[str]
    """Model directory or hub id."""
    dst: tyro.conf.Positional[Path]
    """Directory to write; it must be new or empty."""
    to: Literal["huggingface", "sentence-transformers"]
    """Library to write for."""
    pooling: str | None = None
    """For sentence-transformers: cls, mean, max, mean_sqrt_len, weightedmean, last_token, or several joined by +. By
    default a model's classifier, or the readout of a sentence-transformers directory, or else mean."""
    layers: str | None = None
    """For sentence-transformers: last, the default, an index (-2), avg(1,-1), or a mix that was trained."""
    projection: Literal["none", "tanh"] | None = None
    """For sentence-transformers: none, the default, or tanh for the checkpoint's own pooler."""
    max_length: int | None = None
    """Tokens that longer texts are truncated to; by default the limit of the model's directory."""
    encoder_only: bool = False
    """Skip everything but the encoder: heads that are unknown or do not fit, and the modules after the encoder of a
    sentence-transformers directory."""
    pad_vocab_to: int | None = None
    """Pad the vocabulary to a multiple of this number, such as 8 or 128, for speed; 1 removes such padding."""
    case: tyro.conf.OmitArgPrefixes[Case] = Case()

    def __post_init__(self) -> None:
        if self.to == "huggingface" and (self.pooling, self.layers, self.projection) != (None,) * 3:
            raise InputError("--pooling, --layers and --projection are for --to sentence-transformers: leave them out")
        if self.max_length is not None and self.max_length < 3:
            raise InputError(f"--max-length {self.max_length}: at least 3 are needed, for [CLS], a word and [SEP]")
        if self.pad_vocab_to is not None and self.pad_vocab_to < 1:
            raise InputError(f"--pad-vocab-to {self.pad_vocab_to}: it must be at least 1; 8 and 128 are usual")


def main(config: ConvertConfig) -> None:
    """Convert a model directory."""
    check_new(config.dst)
    source = resolve(config.src)
    # transformers cannot express the modules after the encoder of a sentence-transformers directory.
    is_pipeline = (source / "modules.json").is_file()
    encoder_only = config.encoder_only or (config.to == "huggingface" and is_pipeline)
    model = load_encoder(source, encoder_only, config.case)
    limit = min(config.max_length or model.max_length or model.config.max_length, model.config.max_length)
    if config.pad_vocab_to is not None:
        padded = resize_vocabulary(model.checkpoint, model.tokenizer.vocab_size, config.pad_vocab_to)
        model = dataclasses.replace(model, checkpoint=padded)
    tuned = _tuned(model, config) if config.to == "sentence-transformers" else None
    use = "sentence-similarity" if tuned else use_of(model.checkpoint)

    def write(folder: Path) -> None:
        if tuned is None:
            save_checkpoint(folder, model.checkpoint)
        else:
            save_sentence_transformers(folder, tuned, limit)
        save_for_transformers(model.tokenizer, folder, limit, model.config.num_segments > 0)
        (folder / CARD).write_text(_card(config, source, use, model, tuned), encoding="utf-8")

    write_folder(config.dst, write, otherwise="name another folder")
    print(f"wrote {config.dst} for {'transformers' if tuned is None else 'sentence-transformers'}")


def _tuned(model: Pretrained, config: ConvertConfig) -> Tuned:
    """The model for sentence-transformers, with its classifier, its own readout, or the readout that the user names."""
    checkpoint = model.checkpoint
    if config.pooling is None and checkpoint.classifier is not None:
        if (config.layers, config.projection) != (None, None):
            raise InputError("--layers and --projection are the classifier's own; name a --pooling to leave it out")
        readout, reader = checkpoint.schema.readout(checkpoint.config), {"projection": checkpoint.projection}
        return Tuned(checkpoint, readout, reader, checkpoint.classifier, checkpoint.labels.names)
    readout, normalize = model.choose(config.pooling, config.layers, config.projection)
    prompts = model.prompts or {}
    return Tuned(checkpoint, readout, model.reader_params(readout), normalize=normalize, prompts=prompts)


def _card(config: ConvertConfig, source: Path, use: str, model: Pretrained, tuned: Tuned | None) -> str:
    """The source's card, which has the model's origin and licence, with a note added; or else a plain card."""
    note = f"Converted from {config.src if not Path(config.src).exists() else source.resolve().name} by bert_jax."
    if tuned is not None and tuned.classifier is None:
        note += f" The sentence is read as {tuned.readout} (layers/pooling/projection)."
    if (source / CARD).is_file():
        return carried_card(source / CARD, use, note)
    return plain_card(config.dst.resolve().name, use, model.config, note)


if __name__ == "__main__":
    run(main, ConvertConfig)
