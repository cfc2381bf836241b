"""The files from elsewhere that this project reads: small valid ones of every kind, and a function that reads each."""

import bz2
import gzip
import io
import json
import lzma
import shutil
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from checkpoints.tensor_bundles import write_bundle
from mutations import zstd
from safetensors.numpy import load_file, save_file
from worlds import WORDS, write_encoder, write_glue

from bert_jax import load
from bert_jax.corpus.lines import read_lines
from bert_jax.corpus.readers import find_sources, read_blocks, read_documents
from bert_jax.errors import InputError
from bert_jax.tasks.glue import TASKS as GLUE
from bert_jax.tasks.glue import read_tsv
from bert_jax.tasks.nli import read_nli
from bert_jax.tasks.senteval import TASKS as SENTEVAL
from bert_jax.tasks.senteval import read_senteval
from bert_jax.tasks.sts import read_sts
from bert_jax.tokenizers.tokenizer import load_tokenizer, train_sentencepiece
from bert_jax.tokenizers.tokenizer_json import save_for_transformers

TEXT = "The caf\u00e9 [MASK] sees\u3000\u6771\u4eac, a dog ##s."


class Kind(NamedTuple):
    """A kind of input: how often it is taken, what writes valid ones into subfolders, and what reads a subfolder."""

    weight: int
    write: Callable[[Path], None]
    read: Callable[[Path], None]


# Model directories ---------------------------------------------------------------------------------------------------


def _write_models(folder: Path) -> None:
    plain = folder / "safetensors"
    write_encoder(plain)
    plain.with_suffix(".txt").unlink()
    config = json.loads((plain / "config.json").read_text())
    config |= {"id2label": {"0": "no", "1": "yes"}, "num_labels": 2, "torch_dtype": "float32"}
    (plain / "config.json").write_text(json.dumps(config, indent=1))
    tensors = load_file(plain / "model.safetensors")
    _write_shards(_without_weights(plain, folder / "shards"), tensors)
    _write_tensorflow(_without_weights(plain, folder / "tensorflow"), tensors)
    _write_sentence_transformers(Path(shutil.copytree(plain, folder / "sentence-transformers")))
    try:
        import torch
    except ImportError:  # it only writes the inputs
        return
    state = {name: torch.tensor(tensor) for name, tensor in tensors.items()}
    for name, is_zip in (("torch-zip", True), ("torch-legacy", False)):
        path = _without_weights(plain, folder / name) / "pytorch_model.bin"
        torch.save(state, path, _use_new_zipfile_serialization=is_zip)


def _without_weights(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors", "README.md")))


def _write_shards(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    files = [f"model-{n:05d}-of-00002.safetensors" for n in (1, 2)]
    table = {name: files[n % 2] for n, name in enumerate(tensors)}
    for file in files:
        save_file({name: tensors[name] for name in tensors if table[name] == file}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": table}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _write_tensorflow(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    variables = {"global_step": np.array(7, np.int64)}
    for name, tensor in tensors.items():
        path = name.replace(".layer.", ".layer_").replace("_embeddings.weight", "_embeddings").replace(".", "/")
        path = path.replace("LayerNorm/weight", "LayerNorm/gamma").replace("LayerNorm/bias", "LayerNorm/beta")
        is_kernel = path.endswith("/weight")
        variables[path.replace("/weight", "/kernel")] = tensor.T if is_kernel else tensor
        variables[path.replace("/weight", "/kernel") + "/adam_m"] = np.zeros(1, np.float32)
    write_bundle(folder / "bert_model.ckpt", variables)
    (folder / "checkpoint").write_text('model_checkpoint_path: "bert_model.ckpt"\n')
    (folder / "config.json").rename(folder / "bert_config.json")


def _write_sentence_transformers(folder: Path) -> None:
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"st.models.{k}"} for n, (path, k) in enumerate(kinds.items())
    ]
    width = {"word_embedding_dimension": 16}
    dense = {"in_features": 16, "out_features": 8, "bias": True, "activation_function": "torch.nn.modules.Tanh"}
    for path, content in {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 20, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": None},
        "1_Pooling/config.json": width | {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
        "2_Dense/config.json": dense,
    }.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    weights = {"linear.weight": np.ones((8, 16), np.float32), "linear.bias": np.zeros(8, np.float32)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")


def _read_model(folder: Path) -> None:
    bert = load(folder)
    bert.tokenizer.encode(TEXT, "a pair", 16)
    repr(bert)


# Tokenizers ----------------------------------------------------------------------------------------------------------


def _write_tokenizers(folder: Path) -> None:
    lines = [*WORDS, "caf\u00e9", "##s", "\u6771", "The"]
    for name in ("vocabulary", "vocabulary-added", "tokenizer"):
        (folder / name).mkdir()
        (folder / name / "vocab.txt").write_text("".join(f"{line}\n" for line in lines))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": None}
    (folder / "vocabulary" / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 10**30}))
    added = folder / "vocabulary-added"
    (added / "added_tokens.json").write_text(json.dumps({"[E1]": len(lines), "[E2]": len(lines) + 1}))
    (added / "special_tokens_map.json").write_text(
        json.dumps({"cls_token": "[CLS]", "additional_special_tokens": ["[E1]"]})
    )
    (added / "tokenizer_config.json").write_text(json.dumps(settings | {"do_basic_tokenize": True}))
    whole = folder / "tokenizer"
    save_for_transformers(load_tokenizer(whole, cased=True), whole, 32)
    (whole / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 40}))
    sentences = ["the dog sees a red cat", "a blue dog runs and sleeps", "the cat sleeps very very well"] * 9
    for algorithm in ("unigram", "bpe"):
        (folder / algorithm).mkdir()
        train_sentencepiece(sentences, 28, algorithm).save(folder / algorithm)


def _read_tokenizer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    tokenizer.texts(tokenizer.pieces([TEXT, ""]))
    tokenizer.encode(TEXT, "a pair", 16)
    assert isinstance(tokenizer.wordwise, bool) and len(tokenizer.starts_word) == tokenizer.vocab_size
    (folder / "again").mkdir()
    save_for_transformers(tokenizer, folder / "again", 32)


# Text ----------------------------------------------------------------------------------------------------------------

_DOCUMENTS = [
    "A river runs. It is cold.",
    "The caf\u00e9 \u6771\u4eac\nis open.\nIt closes.",
    'One more, with "quotes".',
]
_TEXTS = {
    "wiki": "".join(
        f'<doc id="{n}" url="u" title="T{n}">\nT{n}\n\n{text}\n\n</doc>\n' for n, text in enumerate(_DOCUMENTS)
    ),
    "rows.jsonl": "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(_DOCUMENTS)),
    "array.json": json.dumps([{"id": n, "text": text} for n, text in enumerate(_DOCUMENTS)], indent=1),
    "plain.txt": "\n\n".join(_DOCUMENTS) + "\n",
}


def _tar(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in (name, f"more/{name}"):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _write_texts(folder: Path, archives: bool = True) -> None:
    packers = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstd.compress}
    for name, text in _TEXTS.items():
        data = text.encode()
        forms = {name + end: pack(data) for end, pack in packers.items()}
        if archives:
            tar = _tar(name, data)
            forms |= {
                f"{name}.tar": tar,
                f"{name}.tar.gz": gzip.compress(tar),
                f"{name}.gz.tar": _tar(f"{name}.gz", gzip.compress(data)),
            }
        for form, content in forms.items():
            (folder / form).mkdir()
            (folder / form / form).write_bytes(content)


def _write_lines(folder: Path) -> None:
    _write_texts(folder, archives=False)


def _read_corpus(folder: Path) -> None:
    for bad_text in ("skip", "stop"):
        for block in read_blocks(find_sources([str(folder)]), 40):
            for document in read_documents(block, "text", bad_text):
                assert document is None or document.encode() is not None


def _read_lines(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        for text in read_lines(path, "text" if "jsonl" in path.name else None):
            text.encode()


# Tasks ---------------------------------------------------------------------------------------------------------------


def _write_tasks(folder: Path) -> None:
    write_glue(folder / "glue")
    rows = "".join(f"{n}\t{n}\tn\tf\tt\tp\tb\tb\tthe cat {n}\ta dog\tx\tneutral\n" for n in range(5))
    head = "index\tpromptID\tpairID\tgenre\t1\t2\t3\t4\tsentence1\tsentence2\tlabel1\tgold_label\n"
    for name, text in {
        "glue-more/MNLI/dev_matched.tsv": head + rows,
        "glue-more/QNLI/dev.tsv": "index\tquestion\tsentence\tlabel\n1\twho?\ta cat\tentailment\n",
        "glue-more/SST-2/dev.tsv": "sentence\tlabel\nthe cat\t1\na dog\t0\n",
        "glue-more/SST-2/test.tsv": "index\tsentence\n0\tthe cat\n",
        "senteval/CR/custrev.neg": "the cat\n\nno dog\n",
        "senteval/CR/custrev.pos": "a dog\ncaf\u00e9\n",
        "senteval/TREC/train_5500.label": "HUM:ind Who sees ?\nLOC:city Where ?\n",
        "senteval/SST/binary/sentiment-dev": "the cat\t1\na dog\t0\n",
        "senteval/SST/fine/sentiment-dev": "4 the cat\n0 a dog\n",
        "senteval/MRPC/msr_paraphrase_test.txt": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t2\t3\ta\tb\n",
        "senteval/SNLI/labels.dev": "neutral\n-\nentailment\n",
        "senteval/SNLI/s1.dev": "a\nb\nc\n",
        "senteval/SNLI/s2.dev": "d\ne\nf\n",
        "senteval/probing/past_present.txt": "tr\tPRES\ta dog\nva\tPAST\tthe cat\nte\tPAST\ta\n",
        "senteval/SICK/SICK_trial.txt": "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
        + "1\ta\tb\t3.5\tNEUTRAL\n",
        "sts/STS12-en-test/STS.input.news.txt": "a\tb\nc\td\ne\tf\n",
        "sts/STS12-en-test/STS.gs.news.txt": "1.5\n\n5\n",
        "sts/STSBenchmark/sts-test.csv": "g\tf\ty\t1\t3.25\ta\tb\ng\tf\ty\t1\t0\tc\td\ts\tt\n",
        "nli/pairs.jsonl": json.dumps({"premise": "a", "hypothesis": "b", "label": 1})
        + "\n"
        + json.dumps({"sentence1": "a", "sentence2": "b", "gold_label": "-"})
        + "\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="latin-1" if "/CR/" in name or "/TREC/" in name else "utf-8")
    (folder / "senteval" / "SUBJ").mkdir()


_READS: dict[str, list[Callable[[Path], object]]] = {
    "glue": [
        partial(read_tsv, GLUE[name], split=split)
        for name in ("cola", "stsb", "mrpc")
        for split in ("train", "validation")
    ],
    "glue-more": [
        *(partial(read_tsv, GLUE[name], split="validation") for name in ("qnli", "sst2")),
        partial(read_tsv, GLUE["mnli"], split="validation_matched"),
        partial(read_tsv, GLUE["sst2"], split="test"),
    ],
    "senteval": [
        *(partial(read_senteval, SENTEVAL[name], split="train") for name in ("cr", "trec")),
        *(
            partial(read_senteval, SENTEVAL[name], split="validation")
            for name in ("sst2", "sst5", "snli", "sicke", "sickr", "past_present")
        ),
        partial(read_senteval, SENTEVAL["mrpc"], split="test"),
    ],
    "sts": [lambda folder, name=name: read_sts(folder / name) for name in ("STS12-en-test", "STSBenchmark")],
    "nli": [lambda folder: read_nli(folder / "pairs.jsonl")],
}
"""Folder of tasks -> functions that read its splits."""


def _read_tasks(folder: Path) -> None:
    """Read every split; raises the last refusal."""
    refusal = None
    for read in _READS[folder.name]:
        try:
            read(folder=folder)
        except InputError as error:
            refusal = error
    if refusal is not None:
        raise refusal


KINDS = {
    "models": Kind(3, _write_models, _read_model),
    "tokenizers": Kind(3, _write_tokenizers, _read_tokenizer),
    "corpora": Kind(2, _write_texts, _read_corpus),
    "lines": Kind(1, _write_lines, _read_lines),
    "tasks": Kind(2, _write_tasks, _read_tasks),
}
