"""Pretrain a small BERT with MLM + NSP and write it as a Hugging Face model directory."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from bert_jax.config import PretrainConfig
from bert_jax.data import controlled
from bert_jax.data.corpus import tokenize_documents
from bert_jax.data.tokenizer import train_sentencepiece
from bert_jax.train.pretrain import pretrain, to_pretrained
from configs import named
from experiments.cli import run
from experiments.progress import progress_bar
from experiments.settings import PretrainRun


def pretrain_encoder(config: PretrainConfig, documents: Sequence[Sequence[str]], out: Path) -> None:
    """Train a vocabulary and a model on documents and write them to `out`, which appears only when complete."""
    sentences = [sentence for document in documents for sentence in document]
    tokenizer = train_sentencepiece(sentences, config.vocab_size, config.vocab_algorithm)
    corpus = tokenize_documents(tokenizer, documents)
    with progress_bar() as bar:
        task = bar.add_task("pretraining", total=config.steps, note="")
        for step, state, metrics in pretrain(config, tokenizer, corpus):
            note = "MLM loss {mlm_loss:.2f}, NSP accuracy {nsp_accuracy:.2f}".format(**metrics)
            bar.update(task, completed=step, note=note)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    to_pretrained(config, tokenizer, state.params).save(partial)
    partial.replace(out)


def main(config: PretrainRun) -> None:
    """Pretrain on the embedded corpus."""
    pretrain_encoder(config.pretrain, controlled.documents(config.documents, config.pretrain.seed), config.out)
    print(f"wrote {config.out}; try: python -m experiments.ablate_pooling embedded --encoder {config.out}")


if __name__ == "__main__":
    run(main, named(PretrainRun))
