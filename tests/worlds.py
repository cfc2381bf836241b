"""A small encoder and a few rows of GLUE, as they are published: what an experiment needs to run in seconds."""

import csv
import json
import shutil

import jax
import numpy as np
import pyarrow
from pyarrow import parquet

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.model.bert import BertForPretraining
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.types import Tokens

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog red blue sees runs sleeps very and".split()
TRAIN, DEV = 24, 12


def sentence(rng, words=4):
    return " ".join(rng.choice(WORDS[5:], words))


def write_glue(folder):
    """CoLA (with an empty sentence in both files), STS-B and MRPC, as they are published."""
    rng = np.random.default_rng(0)
    files = {
        "CoLA": ("", lambda row: f"gj04\t{row % 2}\t\t{sentence(rng, 8) if row else ''}"),
        "STS-B": ("sentence1\tsentence2\tscore", lambda row: f"{sentence(rng)}\t{sentence(rng)}\t{row % 11 / 2}"),
        "MRPC": (
            "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
            lambda row: f"{row % 2}\t1\t2\t{sentence(rng)}\t{sentence(rng)}",
        ),
    }
    for name, (header, line) in files.items():
        (folder / name).mkdir(parents=True)
        for file, rows in (("train", TRAIN), ("dev", DEV)):
            lines = [header] * bool(header) + [line(row) for row in range(rows)]
            (folder / name / f"{file}.tsv").write_text("".join(f"{text}\n" for text in lines))


def write_encoder(folder):
    config = BertConfig(len(WORDS), 16, 1, 2, 32, 32, initializer_range=0.2)
    model = BertForPretraining(config, ReadoutConfig(projection="tanh"))
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    params = jax.jit(lambda key: model.init(key, tokens, np.ones((1, 1), np.int32))["params"])(jax.random.key(7))
    vocabulary = folder.with_suffix(".txt")
    vocabulary.write_text("".join(f"{word}\n" for word in WORDS))
    pooler = params["reader"]["projection"]["dense"]
    Pretrained(Checkpoint(config, params["encoder"], pooler), WordPiece.from_vocabulary(vocabulary)).save(folder)


def write_one_segment(source, folder):
    """Copy an encoder's directory with a config.json that says type_vocab_size 1, which is read before its weights."""
    shutil.copytree(source, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"type_vocab_size": 1}))
    return folder


def write_table(path, rows, encoding="utf-8"):
    """Write rows as the ending of a file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(rows[0])
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding=encoding)
    elif path.suffix == ".csv":
        with open(path, "w", newline="", encoding=encoding) as file:
            csv.writer(file).writerows([names, *(row.values() for row in rows)])
    else:
        lines = ["\t".join(map(str, values)) for values in (names, *(row.values() for row in rows))]
        path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    return path
