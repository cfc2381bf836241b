"""[CLS] at layer 0 is one and the same vector: it scores as a constant in every regime, whatever rounds it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from worlds import WORDS, sentence

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import BertConfig
from bert_jax.evaluate.features import extract_features
from bert_jax.model.encoder import Encoder
from bert_jax.parallel.inference import predict_rows
from bert_jax.pretrained import Pretrained
from bert_jax.study.store import read_rows
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.types import Tokens
from experiments import ablate_pooling
from experiments.cli import named, run
from experiments.settings.ablation import Ablation

SIZES = {1: (8, 64), 8: (64,)}
"""Batch sizes, by the number of devices."""


def write_world(folder):
    """CoLA and STS-B with texts of many lengths, and an encoder wide enough for sums to be rounded differently."""
    rng = np.random.default_rng(0)
    for name, header in (("CoLA", ""), ("STS-B", "sentence1\tsentence2\tscore\n")):
        (folder / name).mkdir(parents=True)
        for file, rows in (("train", 48), ("dev", 80)):
            texts = [[sentence(rng, int(words)) for words in rng.integers(4, 25, 2)] for _ in range(rows)]
            lines = [
                f"{a}\t{b}\t{row % 11 / 2}\n" if header else f"x\t{int(row % 3 > 0)}\t\t{a}\n"
                for row, (a, b) in enumerate(texts)
            ]
            (folder / name / f"{file}.tsv").write_text(header + "".join(lines))
    config = BertConfig(len(WORDS), 200, 1, 2, 64, 64, initializer_range=0.2)
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    params = jax.jit(Encoder(config).init)(jax.random.key(7), tokens)["params"]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    tokenizer = WordPiece.from_vocabulary(folder / "vocab.txt")
    Pretrained(Checkpoint(config, jax.device_get(params)), tokenizer).save(folder / "encoder")


def measure(world, out, size):
    """[regime, task, score, whether it is degenerate] of every run."""
    line = f"glue --tasks cola stsb --encoder {world / 'encoder'} --glue-dir {world} --out {out} --seeds 1 --layers 0 "
    line += f"--poolings cls --regimes finetune probe sts --probe.folds 3 --probe.batch-size {size} "
    line += f"--sts.batch-size {size} --finetune.epochs 1 --finetune.batch-size 8 --finetune.num-buckets 2 "
    line += f"--finetune.eval-batch-size {size}"
    run(ablate_pooling.main, named(Ablation), line.split())
    rows = read_rows(out)
    return [[row.regime, row.task, row.score("validation"), row.is_degenerate("validation")] for row in rows]


def main(folder):
    found = {size: measure(folder, folder / f"out-{size}", size) for size in SIZES[8]}
    print(json.dumps([jax.device_count(), list(found.values())]))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("constant")
    write_world(folder)
    return folder


@pytest.fixture(scope="module")
def measured(world, tmp_path_factory):
    """Results with several batch sizes, on one device and on eight."""
    root = Path(__file__).parents[2]
    flags = "--xla_force_host_platform_device_count=8"
    path = os.pathsep.join([str(root), str(root / "tests")])
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    command = [sys.executable, __file__, str(world)]
    child = subprocess.Popen(command, env=env, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out = tmp_path_factory.mktemp("out")
    found = [measure(world, out / str(size), size) for size in SIZES[1]]
    said, error = child.communicate(timeout=300)
    assert child.returncode == 0, error
    devices, others = json.loads(said.splitlines()[-1])
    assert devices == 8
    return found + others


def test_a_constant_scores_as_a_constant_whatever_the_batch_size_and_the_devices(measured):
    for rows in measured:
        cells = {(regime, task): (score, degenerate) for regime, task, score, degenerate in rows}
        assert len(cells) == 5 and all(degenerate for _, degenerate in cells.values())
        assert {score for score, _ in cells.values()} == {0.0}


def test_a_constant_that_is_rounded_anew_for_every_text_is_a_constant(world, tmp_path, monkeypatch):
    """As by programs of other lengths or processors: each value is off by up to a unit in the last place."""
    rng = np.random.default_rng(0)

    def rounded_anew(array):
        return (array + 2.0**-23 * np.abs(array).max() * rng.uniform(-1, 1, array.shape)).astype(np.float32)

    def features(*args):
        return {readout: rounded_anew(vectors) for readout, vectors in extract_features(*args).items()}

    monkeypatch.setattr("bert_jax.study.regime.extract_features", features)
    monkeypatch.setattr("bert_jax.train.finetune.predict_rows", lambda *args: rounded_anew(predict_rows(*args)))
    rows = measure(world, tmp_path / "out", 8)
    assert len(rows) == 5 and all(degenerate and score == 0 for _, _, score, degenerate in rows), rows


if __name__ == "__main__":
    main(Path(sys.argv[1]))
