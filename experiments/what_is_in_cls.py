"""Test five claims of a question-and-answer thread about [CLS], each with a measurement and a figure.

The probes, fine-tunings and statistics of the other experiments show, for any encoder, where the information in [CLS]
comes from (attention, and attention knockout), whether another word would serve, the effect of next-sentence
prediction, the results on single-sentence tasks, and when an average is better. The same command continues an
interrupted run; more encoders, tasks or parts extend a folder.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import IO

from bert_jax.analysis.claims.claim_report import write_claims
from bert_jax.analysis.claims.frames import ABOUT, read_about, split_name
from bert_jax.analysis.report import write_report
from bert_jax.checkpoints.directory import read_config, resolve
from bert_jax.config import ReadoutConfig
from bert_jax.data.batching import encode_texts
from bert_jax.data.nsp_task import FOLLOWS, follow_splits, read_documents
from bert_jax.data.one_segment import check_pairs
from bert_jax.errors import InputError, unknown
from bert_jax.evaluate.attention_maps import first_attention
from bert_jax.evaluate.nsp_head import has_head, head_readout
from bert_jax.files import claim, plain, read_json, write_whole, writing
from bert_jax.model.readout import check
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.pretrained import load
from bert_jax.study.grid import Grid, run_grid
from bert_jax.study.regimes import REGIMES
from bert_jax.study.run import Blind, identify_encoder
from bert_jax.study.sources import Source, TaskSplits, read_task, with_duplicates
from bert_jax.tasks import synthetic
from bert_jax.tasks.task import Task
from bert_jax.tokenizers.tokenizer import load_tokenizer
from experiments.cli import command, named, reporting, run
from experiments.encoders import load_encoder, own_encoder
from experiments.settings.claims import ClsRun
from experiments.settings.shared import expand_layers

CONFIGS = {"tiny": "cls-synthetic", "mini": "cls-real", "base": "cls-real"}
"""Scale of `experiments.reproduce` -> named settings. With cls-real the encoders decide the size."""
PAIR_POOLINGS = ("cls", "mean")
"""Poolings that pairs of texts are read with."""
DOCUMENTS_SEED = 1
"""Seed of the synthetic documents for pairs of texts; encoders are pretrained on those of seed 0."""


def main(config: ClsRun) -> None:
    """Execute the missing runs of all encoders and parts, then write the figures and tables."""
    prepare_process()
    check_batch_sizes(config.probe)
    check_batch_sizes(config.finetune, "--finetune.")
    encoders = {name: str(resolve(place)) for name, place in config.named_encoders().items()}
    encoders = encoders or dict.fromkeys(config.own_encoders(), "")
    for place in filter(None, encoders.values()):
        for readout in config.readouts("last"):
            check(readout, read_config(Path(place)))
        for task in _joined(config):
            check_pairs(Path(place), task.title)
    if "pairs" in config.parts:
        _follows(config)  # raises at once if there is too little text
    for name, place in encoders.items():
        encoder = place or str(_pretrained(config, name))
        _note(config, name)
        for part in config.parts:
            print(f"{name}: {part}", file=sys.stderr, flush=True)
            PARTS[part](config, name, encoder)
    write_claims(config.out)


def start(args: Sequence[str]) -> None:
    """Run from a command line in which --scale, tiny by default, selects the named settings.

    Used by `reproduce what-is-in-cls`, so that it accepts all arguments of this experiment.
    """
    args = [word for arg in args for word in (arg.split("=", 1) if arg.startswith("--scale=") else [arg])]
    scale = "tiny"
    if "--scale" in args[:-1]:
        at = args.index("--scale")
        scale = args[at + 1]
        del args[at : at + 2]
    with reporting():
        if scale not in CONFIGS:
            raise unknown("scale", scale, CONFIGS)
    run(main, named(ClsRun), [CONFIGS[scale], *args])


def _pretrained(config: ClsRun, name: str) -> Path:
    """Encoder of the synthetic language with one of `pretrainings`, pretrained if missing."""
    objective, readout = config.pretrain.objective, config.pretrain.nsp_readout
    kind, number = split_name(name)
    if kind == "none":
        objective = dataclasses.replace(objective, pairs="none")
    if kind == "nsp-mean":
        readout = dataclasses.replace(readout, pooling="mean")
    seed = config.pretrain.seed + number
    pretrain = dataclasses.replace(config.pretrain, objective=objective, nsp_readout=readout, seed=seed)
    return own_encoder(dataclasses.replace(config, pretrain=pretrain), config.out / name / "pretraining")


def _joined(config: ClsRun) -> list[Task]:
    """The tasks whose two texts some part reads together."""
    parts = {"finetune", "attention"} | ({"layers", "knockout"} if config.probe.pairs == "joint" else set())
    pairs = [task for task in config.read_tasks() if len(task.texts) == 2] if parts & set(config.parts) else []
    return [*pairs, FOLLOWS] if "pairs" in config.parts else pairs


def _note(config: ClsRun, name: str) -> None:
    """Add an encoder and the tasks to the folder's description."""
    path = config.out / ABOUT
    about = read_about(config.out) if path.exists() else {"encoders": [], "tasks": {}}
    about["encoders"] = list(dict.fromkeys([*about["encoders"], name]))
    for task in [*config.read_tasks(), FOLLOWS]:
        about["tasks"][task.name] = {"title": task.title, "texts": len(task.texts), "needs": task.needs}
    with writing(config.out):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write((json.dumps(about, indent=2) + "\n").encode()))


def _layers(config: ClsRun, name: str, encoder: str) -> None:
    """Probe every task, layer and position."""
    layers = expand_layers(["all"], read_config(Path(encoder)).num_layers)
    readouts = [readout for layer in layers for readout in config.readouts(layer)]
    _run(_grid(config, name, encoder, "layers", "probe", readouts))


def _knockout(config: ClsRun, name: str, encoder: str) -> None:
    """Probe [CLS] and the mean with [CLS] attending only to itself: from each block on, and in each single block."""
    depth = read_config(Path(encoder)).num_layers
    blinds = [None, *(Blind(block, depth) for block in range(1, depth + 1))]
    blinds += [Blind(block, block) for block in range(1, depth)]
    readouts = [ReadoutConfig("last", pooling) for pooling in PAIR_POOLINGS]
    grid = _grid(config, name, encoder, "knockout", "knockout", readouts)
    _run(dataclasses.replace(grid, blinds=blinds))


def _finetune(config: ClsRun, name: str, encoder: str) -> None:
    """Fine-tune from every position."""
    grid = _grid(config, name, encoder, "finetune", "finetune", config.readouts("last"))
    _run(dataclasses.replace(grid, seeds=range(config.seeds)))


def _cosine(config: ClsRun, name: str, encoder: str) -> None:
    """Measure zero-shot similarity at every position."""
    _run(_grid(config, name, encoder, "cosine", "sts", config.readouts("last")))


def _pairs(config: ClsRun, name: str, encoder: str) -> None:
    """Predict whether B follows A: with the encoder's own head, if it has one, and with probes of every layer."""
    config = dataclasses.replace(config, probe=dataclasses.replace(config.probe, pairs="joint"))
    layers = expand_layers(["all"], read_config(Path(encoder)).num_layers)
    readouts = [ReadoutConfig(layer, pooling) for layer, pooling in product(layers, PAIR_POOLINGS)]
    probes = _grid(config, name, encoder, "pairs", "probe", readouts)
    on_pairs = dataclasses.replace(probes, tasks=[FOLLOWS], read=lambda task: _follows(config))
    _run(on_pairs)
    if has_head(load(encoder, encoder_only=True).checkpoint):
        heads = [head_readout(pooling) for pooling in PAIR_POOLINGS]
        _run(dataclasses.replace(on_pairs, settings={"head": config.probe}, readouts=heads))


def _attention(config: ClsRun, name: str, encoder: str) -> None:
    """Measure the attention of [CLS] on the first evaluation texts of every task."""
    folder = config.out / name / "attention"
    weights = identify_encoder(Path(encoder)).weights
    about = {"encoder": name, "encoder_weights": weights, "texts": config.texts, "max_length": config.probe.max_length}
    with writing(folder):
        claim(folder / "experiment.json", plain(about))
    pretrained = load_encoder(encoder)
    limit = min(config.probe.max_length, pretrained.config.max_length)
    for task in config.read_tasks():
        path = folder / f"{task.name}.json"
        rows = next(iter(_read(config, task).evaluations.values())).head(config.texts)
        if path.exists():
            if read_json(path).get("data", rows.digest()) != rows.digest():
                raise InputError(f"{path} is of other texts of {task.title}; use another --out")
            continue
        encodings = encode_texts(pretrained.tokenizer, rows.a, rows.b, limit, task.title)
        found = first_attention(pretrained, encodings, config.probe.batch_size)
        content = {"title": task.title, "texts": len(encodings), "data": rows.digest()} | {
            k: v.tolist() for k, v in found._asdict().items()
        }
        text = json.dumps(content, allow_nan=False) + "\n"
        with writing(folder):
            write_whole(path, partial(_write_text, text))


def _write_text(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())


PARTS: dict[str, Callable[[ClsRun, str, str], None]] = {
    "layers": _layers,
    "attention": _attention,
    "knockout": _knockout,
    "finetune": _finetune,
    "cosine": _cosine,
    "pairs": _pairs,
}


def _run(grid: Grid) -> None:
    """Execute the missing runs of a part and report them; nothing if the part applies to no task."""
    if grid.tasks:
        run_grid(grid)
        write_report(grid.out, show=False)


def _grid(config: ClsRun, name: str, encoder: str, part: str, regime: str, readouts: Sequence[ReadoutConfig]) -> Grid:
    """The grid of one part of an encoder, in a run folder of its own."""
    entry = REGIMES[regime]
    settings = config.sts() if regime == "sts" else getattr(config, entry.settings)
    return Grid(
        out=config.out / name / part,
        architecture=read_config(Path(encoder)),
        encoder=lambda: Path(encoder),
        settings={regime: settings},
        tasks=[task for task in config.read_tasks() if entry.why_not(task) is None],
        read=lambda task: _read(config, task),
        readouts=readouts,
        name=name,
        labels={"train_rows": config.train_rows},
        together=config.together,
        command=command(),
    )


@lru_cache
def _read(config: ClsRun, task: Task) -> TaskSplits:
    source = Source(config.out / "data", config.glue_dir, config.senteval_dir, train_rows=config.train_rows)
    return read_task(source, task)


@lru_cache
def _follows(config: ClsRun) -> TaskSplits:
    wanted = 2 * config.num_pairs
    if config.corpus is None:
        documents = synthetic.documents(wanted, DOCUMENTS_SEED)
    else:
        documents = read_documents(config.corpus, load_tokenizer(config.corpus), wanted)
    try:
        train, held_out = follow_splits(documents, config.num_pairs, config.words, seed=0)
    except InputError as error:
        raise InputError(f"{error}: see --num-pairs, --words and --corpus") from None
    return with_duplicates(TaskSplits(FOLLOWS, train, None, {"heldout": held_out}))


if __name__ == "__main__":
    run(main, named(ClsRun), default="cls-synthetic")
