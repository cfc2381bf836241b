"""Every named run can be started as its docstring says."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import configs
from bert_jax.config import preset
from bert_jax.model.readout import check
from bert_jax.tasks.suites import SUITES
from bert_jax.train.siamese import training_readout
from experiments.cli import named, parse
from experiments.settings.ablation import Ablation
from experiments.settings.claims import ClsRun
from experiments.settings.corpus import PrepareCorpus
from experiments.settings.frozen import ProbeRun, StsRun
from experiments.settings.pretraining import PretrainRun
from experiments.settings.sentence_pairs import SiameseRun

KINDS = {
    "ablate_pooling": Ablation,
    "pretrain": PretrainRun,
    "probe": ProbeRun,
    "siamese": SiameseRun,
    "sts": StsRun,
    "what_is_in_cls": ClsRun,
}
MODULES = [importlib.import_module(f"configs.{info.name}") for info in pkgutil.iter_modules(configs.__path__)]
EVERY = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)


@EVERY
def test_the_command_in_the_docstring_starts_this_run(module):
    commands = re.findall(r"^ *python -m experiments\.(\S+) (\S+)(.*)$", module.__doc__ or "", re.MULTILINE)
    own = [command for command in commands if command[0] != "prepare_corpus"]
    assert own, f"{module.__file__}: its docstring has no line 'python -m experiments.NAME {module.NAME}'"
    for _, *words in set(commands) - set(own):
        corpus = parse(PrepareCorpus, " ".join(words).split())
        assert Path(corpus.out) == module.config.corpus, f"{module.__file__}: the run reads another corpus"
    for experiment, name, flags in own:
        assert experiment in KINDS, f"{module.__file__}: there is no experiments/{experiment}.py"
        assert name == module.NAME, f"{module.__file__}: the docstring says {name}, NAME is {module.NAME}"
        parsed = parse(named(KINDS[experiment]), [name, *flags.split()])
        assert type(parsed) is type(module.config)
        assert flags.strip() or parsed == module.config


def test_names_are_unique():
    for kind in KINDS.values():
        names = [module.NAME for module in MODULES if isinstance(module.config, kind)]
        assert len(names) == len(set(names)) == len(named(kind)) > 0


@pytest.mark.parametrize("name", named(Ablation))
def test_an_ablation_names_tasks_and_readouts_that_exist(name):
    description, config = named(Ablation)[name]
    assert description and set(config.tasks) <= set(SUITES[config.suite])
    for readout in config.readouts():
        check(readout, preset("tiny"))


@pytest.mark.parametrize("name", named(PretrainRun))
def test_a_pretraining_has_a_readout_that_exists(name):
    description, config = named(PretrainRun)[name]
    assert description
    check(config.pretrain.nsp_readout, preset(config.pretrain.preset))


@pytest.mark.parametrize("name", named(SiameseRun))
def test_a_siamese_run_has_readouts_that_exist(name):
    description, config = named(SiameseRun)[name]
    assert description
    for readout in config.readouts():
        check(training_readout(readout, config.siamese), preset("tiny"))


def test_two_runs_do_not_share_a_folder():
    folders = [module.config.out for module in MODULES]
    assert len(set(folders)) == len(folders)
