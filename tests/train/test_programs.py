"""Every step is lowered for accelerators that are not here, as many as a pod has, and is the step that a run takes."""

import jax
import numpy as np
import pytest

from bert_jax.config import BertConfig, ComputeConfig, FinetuneConfig, ReadoutConfig
from bert_jax.corpus.corpus import Corpus
from bert_jax.data.examples import PretrainData
from bert_jax.model import encoder
from bert_jax.parallel.devices import Absent
from bert_jax.parallel.population import Layout
from bert_jax.pretrain_config import ObjectiveConfig, PretrainConfig
from bert_jax.tokenizers.template import SpecialIds
from bert_jax.train import programs
from bert_jax.train.finetune import compile_program
from bert_jax.types import Target

BERT = BertConfig(60, 32, 1, 2, 64, 64, compute=ComputeConfig(dtype="bfloat16"))
READOUT = ReadoutConfig(pooling="mean")


def chips(platform: str, number: int) -> tuple[Absent, ...]:
    capability = "9.0" if platform == "gpu" else ""
    return tuple(Absent(place, platform, "accelerator", capability) for place in range(number))


def reduced(text: str) -> int:
    """Elements of all all-reduces of a lowered program."""
    found = 0
    for line in text.split('"stablehlo.all_reduce"')[1:]:
        kinds = line.split(": (tensor<")[1].split(">)")[0]
        *sizes, _ = kinds.split("x")
        found += int(np.prod([int(size) for size in sizes]))
    return found


def size(params) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(("platform", "number"), [("tpu", 8), ("tpu", 256), ("gpu", 8), ("gpu", 256)])
def test_every_step_is_lowered_for_the_accelerators_that_it_is_made_for(platform, number, monkeypatch) -> None:
    there, seen = chips(platform, number), []
    pretraining = programs.pretraining(PretrainConfig(compute=BERT.compute), BERT, there, 2 * number, 16)
    embedding = programs.embedding(BERT, READOUT, there, 2 * number, 16)
    monkeypatch.setattr(encoder, "is_fused", lambda config, train, target: bool(seen.append(target)))
    text = pretraining.lower(platform).as_text()
    assert f'["data"={number}]' in text
    # The gradient of every parameter once; losses, measures and their counts are some scalars more.
    assert 0 <= reduced(text) - size(pretraining.shapes[0].params) < 30
    text = embedding.lower(platform).as_text()
    assert f'["data"={number}]' in text and "all_reduce" not in text
    assert set(seen) == {Target(platform, "9.0" if platform == "gpu" else "")}


def test_gradients_are_sent_in_the_type_that_is_asked_for() -> None:
    compute = ComputeConfig(dtype="bfloat16", gradients="bfloat16")
    program = programs.pretraining(PretrainConfig(compute=compute), BERT, chips("tpu", 8), 16, 16)
    sums = [
        part.split("}) : (")[1].split(")")[0]
        for part in program.lower("tpu").as_text().split("stablehlo.all_reduce")[1:]
    ]
    sent = {kind: sum(f"x{kind}>" in each or f"<{kind}>" in each for each in sums) for kind in ("bf16", "f32")}
    leaves = jax.tree.leaves(program.shapes[0].params)
    assert sent["bf16"] == len(leaves) and sent["f32"] < 30
    assert {leaf.dtype.name for leaf in leaves} == {"float32"}


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_one_fine_tuning_shares_its_rows_among_all_accelerators(platform) -> None:
    tuned = programs.finetuning(FinetuneConfig(batch_size=256), BERT, READOUT, 3, Layout(chips(platform, 256)), 16, 100)
    text = tuned.lower(platform).as_text()
    assert '["runs"=1, "data"=256]' in text
    assert 0 <= reduced(text) - size(tuned.shapes[0].state.params) < 30


def test_programs_for_elsewhere_leave_those_for_here_as_they_are() -> None:
    here, there = Layout(tuple(jax.local_devices())), Layout(chips("gpu", len(jax.local_devices())))
    targets = [compile_program(BERT, READOUT, 3, FinetuneConfig(), 7, layout).model.target for layout in (there, here)]
    assert targets == [Target("gpu", "9.0"), Target("cpu")]


def test_the_shapes_are_those_of_a_real_batch() -> None:
    rng = np.random.default_rng(0)
    corpus = Corpus(rng.integers(5, 60, 600).astype(np.uint16), np.arange(0, 601, 10), np.arange(0, 61, 10))
    data = PretrainData(corpus, SpecialIds(0, 1, 2, 3, 4), 60, None, 16, ObjectiveConfig(), 0)
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), data.batch(0, np.arange(4)))
    assert programs.pretrain_batch(4, 16, data.num_slots) == batch
