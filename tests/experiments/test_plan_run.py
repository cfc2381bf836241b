"""A plan is of the step that a run takes, and what cannot run is refused with what can."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import jax
import pytest

from bert_jax.config import ComputeConfig, FinetuneConfig, preset
from bert_jax.errors import InputError
from bert_jax.parallel import topologies
from bert_jax.parallel.compiled import Collective, Cost, TooLarge, compile_cost
from bert_jax.parallel.devices import Absent
from bert_jax.parallel.topologies import CHIPS, Topology, find_topology
from bert_jax.pretrain_config import LongPhase, PretrainConfig
from bert_jax.train import programs, step_cost, throughput
from experiments.cli import parse
from experiments.plan import CONFIGS, main
from experiments.settings.plan import Plan, TuningPlan

needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
TINY = PretrainConfig(
    preset="1/32/2", max_length=16, batch_size=512, steps=100, compute=ComputeConfig(dtype="bfloat16")
)


def planned(capsys, topology: str, config: PretrainConfig = TINY, **settings) -> str:
    main(Plan(out=Path("nowhere"), topology=topology, vocab_size=60, pretrain=config, **settings))
    return capsys.readouterr().out


@pytest.fixture
def compiler(monkeypatch):
    """A compiler for which a sequence of a piece takes 1 GB, beside 2 GB for the rest."""

    def cost(program) -> Cost:
        batch = program.shapes[1]
        return Cost(
            int(2e9 + 1e9 * batch.weights.shape[-1] / pieces[-1]), [Collective("all-reduce", {}, 10**8)], 3 * 10**8
        )

    pieces, real = [1], programs.pretraining

    def make(config, bert, devices, rows, *args):
        pieces.append(config.accumulate * len(devices))
        return real(config, bert, devices, rows, *args)

    monkeypatch.setattr("experiments.plan.pretraining", make)
    monkeypatch.setattr(step_cost, "compile_cost", cost)
    monkeypatch.setattr(programs.Program, "lower", lambda program, platform: program)
    slices = {
        name: Topology(name, CHIPS["v5e"], tuple(Absent(n, "tpu", "TPU v5 lite") for n in range(4)))
        for name in ("v5e:2x2",)
    }
    slices |= {"v5p:2x2x1": slices["v5e:2x2"]}
    found = topologies.find_topology
    monkeypatch.setattr("experiments.plan.find_topology", lambda name: slices.get(name) or found(name))
    monkeypatch.setattr(Topology, "compiles", property(lambda topology: topology.chip.platform == "tpu"))


def test_a_step_that_fits_has_its_time_from_cycles_and_links(compiler, capsys):
    config = PretrainConfig(preset="1/32/2", max_length=16, batch_size=32, steps=3600, long=LongPhase(600, 32, 16))
    text = planned(capsys, "v5e:2x2", config)
    assert "10.00 GB of 16 GB a device: fits" in text and "6.00 GB of 16 GB" in text
    # 3e8 cycles at 1.5 GHz; three quarters of 100 MB leave a chip twice, at 200 GB/s.
    assert text.count("step         200.8 ms = 200.0 (XLA's cycles) + 0.8 (links)") == 2
    assert "steps 1 to 3,000" in text and "steps 3,001 to 3,600" in text and "all steps    0.2 h, an estimate" in text
    bert = preset("1/32/2", vocab_size=60, max_length=128)
    used = 32 * throughput.flops_per_sequence(bert, 16, 3) / 0.20075 / (4 * 197e12)
    assert f"MFU {used:.0%}, {32 * 16 / 0.20075:,.0f} tokens/s" in text
    assert "never\ncompared with a measured one" in text


def test_what_does_not_fit_is_refused_with_the_batch_and_the_pieces_that_do(compiler, capsys):
    text = planned(capsys, "v5e:2x2")
    assert "130.0 GB of 16 GB a device: does not fit. These do: a batch of 32, or --pretrain.accumulate 16" in text
    assert "10.00 GB of 16 GB a device: fits" in text


def test_a_sequence_that_does_not_fit_is_refused(compiler, capsys, monkeypatch):
    monkeypatch.setattr(step_cost, "compile_cost", lambda program: Cost(40 * 10**9, [], 0))
    with pytest.raises(InputError, match=r"--topology v5e:2x2: one sequence at a time needs 37.3 GiB of 14.9"):
        planned(capsys, "v5e:2x2", PretrainConfig(preset="1/32/2", max_length=16, batch_size=8))


def test_of_gpus_the_time_is_said_to_be_unknown(compiler, capsys):
    text = planned(capsys, "h100:8", PretrainConfig(preset="1/32/2", max_length=16, batch_size=64))
    assert "about 10.00 GB of 60 GB a device: fits" in text and "there is no compiler for GPUs here" in text
    assert "step         unknown; " in text and "h at an MFU of 30%" in text


def test_several_runs_are_a_population(compiler, capsys):
    text = planned(capsys, "v5e:2x2", PretrainConfig(preset="1/32/2", max_length=16, batch_size=8), seeds=4)
    assert "4 runs of 1/32/2" in text and "8 x 16 tokens a step and run" in text


def test_as_many_runs_are_compiled_for_a_device_as_it_will_have(compiler, capsys, monkeypatch):
    found = []
    monkeypatch.setattr(
        "experiments.plan.finetuning",
        lambda *args: found.append((args[4].places, len(args[4].devices))) or programs.finetuning(*args),
    )
    for topology, runs in (("h100:8", 16), ("h100:1", 8), ("h100:8", 3)):
        main(TuningPlan(topology=topology, encoder="1/32/2", together=runs))
    # The compiler that stands in for that of GPUs has four chips.
    assert [found[at] for at in range(0, len(found), 3)] == [(8, 4), (32, 4), (3, 3)]


def test_a_fine_tuning_and_a_population_of_them_have_plans(compiler, capsys):
    plan = TuningPlan(topology="v5e:2x2", encoder="1/32/2", finetune=FinetuneConfig(batch_size=8), train_rows=80)
    main(plan)
    alone = capsys.readouterr().out
    assert "1/32/2, last/cls/tanh" in alone and "30 steps of the longest batches: 8 x 128 tokens a step, 2" in alone
    assert "10.00 GB of 16 GB a device: fits" in alone
    main(dataclasses.replace(plan, together=8))
    together = capsys.readouterr().out
    assert "8 runs of 1/32/2" in together and "8 x 128 tokens a step and run" in together
    rates = [int(re.search(r"([\d,]+) tokens/s", text)[1].replace(",", "")) for text in (alone, together)]
    assert rates[1] == pytest.approx(8 * rates[0], rel=1e-3)  # eight times the rows in the same cycles


def test_a_fine_tuning_that_does_not_fit_is_refused(compiler):
    with pytest.raises(
        InputError, match=r"a step needs 31.7 GiB of 14.9; .* --finetune.batch-size or fewer --together"
    ):
        main(TuningPlan(topology="v5e:2x2", encoder="1/32/2", together=2))
    with pytest.raises(InputError, match=r"--finetune.batch-size 30 does not divide by the 4 devices"):
        main(TuningPlan(topology="v5e:2x2", encoder="1/32/2", finetune=FinetuneConfig(batch_size=30)))


def test_the_command_line_takes_a_fine_tuning():
    config = parse(CONFIGS, ["finetune", "--topology", "h100:1", "--encoder", "tiny", "--together", "4"])
    assert isinstance(config, TuningPlan) and config.together == 4
    assert isinstance(parse(CONFIGS, ["base", "--topology", "h100:8"]), Plan)


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("", "--topology is missing: v5e:16x16, h100:8"),
        ("v5f:2x2", "unknown chip of --topology 'v5f'. Did you mean 'v5p'"),
        ("h100", "say how many GPUs there are, such as h100:8"),
        ("h100:6", "--pretrain.batch-size 512 does not divide by the 6 devices; use 510 or 516"),
    ],
)
def test_mistakes_are_explained(compiler, capsys, topology, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        planned(capsys, topology)


def test_without_libtpu_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"libtpu, is not installed; .* pip install --editable '\.\[plan\]'"):
        find_topology("v5e:2x2")


@needs_libtpu
@pytest.mark.parametrize("name", ["v5e:2x2", "v5e:16x16"])
def test_the_compiled_step_reduces_all_gradients_once_in_float32(name):
    topology = find_topology(name)
    bert = preset(TINY.preset, vocab_size=60, max_length=128, compute=TINY.compute)
    program = programs.pretraining(TINY, bert, topology.devices, 512, 16)
    cost = compile_cost(program.lower("tpu"))
    number = sum(leaf.size for leaf in jax.tree.leaves(program.shapes[0].params))
    large = [each for each in cost.collectives if each.bytes > 1000]
    assert [each.kind for each in large] == ["all-reduce"] and set(large[0].elements) == {"f32"}
    assert 0 <= large[0].elements["f32"] - number < 30
    assert cost.cycles > 0 and cost.memory > program.state_bytes


@needs_libtpu
def test_libtpu_says_which_slices_there_are():
    with pytest.raises(InputError, match="--topology v5e:3x3: libtpu knows no such slice"):
        find_topology("v5e:3x3")
    assert len(find_topology("v4:2x2x1").devices) == 4


@needs_libtpu
def test_the_compiler_s_own_refusal_is_understood():
    topology, config = find_topology("v5e:2x2"), PretrainConfig(preset="2/128/2", max_length=128)
    bert = preset(config.preset, vocab_size=30_522, max_length=128)
    with pytest.raises(TooLarge) as error:
        compile_cost(programs.pretraining(config, bert, topology.devices, 1 << 16, 128).lower("tpu"))
    assert error.value.needed > error.value.limit == 15.75 * 2**30
