"""Compare all files of a prepared corpus with their checksums, and convert a corpus of an older version.

python -m experiments.check_corpus --corpus runs/corpus
"""

from bert_jax.corpus.shards import check_corpus
from bert_jax.files import writing
from experiments.cli import run
from experiments.settings.corpus import CheckCorpus


def main(config: CheckCorpus) -> None:
    """Check a corpus, and print what was done."""
    with writing(config.corpus):
        converted = check_corpus(config.corpus)
    print(f"{config.corpus}: {'converted, and ' if converted else ''}every file has its checksum")


if __name__ == "__main__":
    run(main, CheckCorpus)
