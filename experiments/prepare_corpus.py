"""Turn raw text into a tokenizer and arrays of tokens for pretraining.

python -m experiments.prepare_corpus --input enwiki.tar.xz --vocab-size 16000 --out runs/corpus
"""

import shlex
import sys
from pathlib import Path
from typing import Any

from bert_jax.corpus.prepare import prepare
from bert_jax.corpus.shards import read_manifest
from bert_jax.corpus.vocabulary import read_vocabulary
from bert_jax.errors import InputError
from bert_jax.files import writing
from bert_jax.study.progress import progress_bar
from bert_jax.tokenizers.unknown import describe_unknown
from experiments.cli import run
from experiments.settings.corpus import PrepareCorpus


def main(config: PrepareCorpus) -> None:
    """Prepare a corpus and print its counts."""
    if config.vocab is not None:
        print(f"{config.vocab}: {read_vocabulary(config.vocab).casing}", file=sys.stderr)
    with writing(Path(config.out)):
        manifest = _prepare_here(config) if config.beam is None else _prepare_on_beam(config, config.beam)
    for split, counts in manifest["totals"].items():
        print(f"{split}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    for why, count in manifest["dropped"].items():
        print(f"left out: {count:,} documents, {why}")
    share = manifest["paired_share"]["train"]
    if share is not None and share < 0.5:
        print(
            f"only {share:.1%} of the text is in documents of two sentences or more; sentence pairs (nsp, sop) need it"
        )
    unknown, tokens = manifest["unknown_share"]["train"], manifest["totals"]["train"]["tokens"]
    if unknown is not None and (text := describe_unknown(unknown * tokens, tokens, config.out)):
        print(text)
    print(f"wrote {config.out}; try: python -m experiments.pretrain CONFIG --corpus {shlex.quote(config.out)}")


def _prepare_here(config: PrepareCorpus) -> dict[str, Any]:
    out = Path(config.out)
    with progress_bar() as bar:
        tasks = {}
        for stage, done, total in prepare(config.input, out, config.text, config.tokenizer(), config.workers):
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note="bytes read")
            bar.update(tasks[stage], completed=done)
    return read_manifest(out)


def _prepare_on_beam(config: PrepareCorpus, options: str) -> dict[str, Any]:
    try:
        from bert_jax.corpus.beam import prepare_on_beam
    except ImportError as error:
        raise InputError(f"--beam needs Apache Beam ({error}): pip install 'bert_jax[beam]'") from error
    return prepare_on_beam(config.input, config.out, config.text, config.tokenizer(), shlex.split(options))


if __name__ == "__main__":
    run(main, PrepareCorpus)
