"""Turn raw text into a tokenizer and token shards for pretraining.

python -m experiments.prepare_corpus --input enwiki.tar.xz --vocab-size 16000 --out runs/corpus
"""

from bert_jax.data.prepare import prepare
from bert_jax.data.shards import read_manifest
from bert_jax.results import writing
from experiments.cli import run
from experiments.progress import progress_bar
from experiments.settings import PrepareCorpus


def main(config: PrepareCorpus) -> None:
    """Prepare a corpus and say what it holds."""
    with writing(config.out), progress_bar() as bar:
        tasks = {}
        for stage, done, total in prepare(config.input, config.out, config.text, config.tokenizer(), config.workers):
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note="bytes read")
            bar.update(tasks[stage], completed=done)
    manifest = read_manifest(config.out)
    for split, counts in manifest["totals"].items():
        print(f"{split}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    for why, count in manifest["dropped"].items():
        print(f"left out: {count:,} documents, {why}")
    print(f"wrote {config.out}; try: python -m experiments.pretrain CONFIG --corpus {config.out}")


if __name__ == "__main__":
    run(main, PrepareCorpus)
