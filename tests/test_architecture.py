"""The layers of the code, bottom to top, and what is said in one place only. An import may only point down."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("bert_jax", "experiments", "configs", "benchmarks")

LAYERS = (
    ("bert_jax.errors", "bert_jax.types", "bert_jax.parallel.memory"),
    ("bert_jax.spec", "bert_jax.analysis.statistics", "bert_jax.files"),
    (
        "bert_jax.config",
        "bert_jax.study.store",
        "bert_jax.checkpoints.provenance",
        "bert_jax.analysis.bootstrap",
        "bert_jax.analysis.crossed",
    ),
    ("bert_jax.analysis.estimates", "bert_jax.analysis.power"),
    ("bert_jax.data", "bert_jax.model", "bert_jax.analysis.comparison", "bert_jax.checkpoints.card"),
    ("bert_jax.checkpoints.exchange",),
    ("bert_jax.train.losses", "bert_jax.evaluate.metrics", "bert_jax.train.optim", "bert_jax.parallel.devices"),
    (
        "bert_jax.evaluate.linear",
        "bert_jax.evaluate.similarity",
        "bert_jax.evaluate.nsp_head",
        "bert_jax.analysis.claims.frames",
    ),
    ("bert_jax.train.prefetch", "bert_jax.train.throughput", "bert_jax.train.log"),
    ("bert_jax.train.step", "bert_jax.train.signals", "bert_jax.analysis.figures"),
    ("bert_jax.analysis.claims.claim_figures",),
    (
        "bert_jax.train.loop",
        "bert_jax.parallel.inference",
        "bert_jax.train.state_checkpoints",
        "bert_jax.analysis.curves",
    ),
    ("bert_jax.pretrained", "bert_jax.analysis.report"),
    ("bert_jax.evaluate.features", "bert_jax.evaluate.attention_maps"),
    ("bert_jax.analysis.claims.claim_report",),
    ("bert_jax.train.finetune", "bert_jax.train.siamese", "bert_jax.train.pretrain", "bert_jax.evaluate.probe"),
    ("experiments.cli", "bert_jax.study.progress", "experiments.settings", "bert_jax.corpus.beam", "experiments.table"),
    ("experiments.cls_settings",),
    ("configs", "experiments.tables"),
    ("experiments.prepare_corpus", "experiments.pretrain", "experiments.report", "experiments.scales"),
    ("experiments.convert", "experiments.embed", "experiments.sources"),
    ("bert_jax.study.regimes",),
    ("experiments.ablate_pooling", "experiments.probe", "experiments.sts", "experiments.siamese"),
    ("experiments.finetune", "experiments.what_is_in_cls"),
    ("experiments.cells",),
    ("experiments.reproduce",),
    ("benchmarks",),
)
"""A module may import from the layers below its own, and from its own entry: `data` and `model` know nothing of each
other. The packages `bert_jax`, `bert_jax.train` and `experiments` themselves stand above what they hold."""

_CLAIMS = ("bert_jax.analysis.claims.claim_figures", "bert_jax.analysis.claims.claim_report")

ONLY_IN = {
    "jax": ("bert_jax.types", "bert_jax.model", "bert_jax.train", "bert_jax.pretrained", "benchmarks"),
    "flax": ("bert_jax.model", "benchmarks"),
    "optax": ("bert_jax.train", "benchmarks"),
    "safetensors": ("bert_jax.checkpoints.huggingface", "bert_jax.checkpoints.weights", "bert_jax.checkpoints.export"),
    "huggingface_hub": ("bert_jax.checkpoints.directory", "bert_jax.checkpoints.card"),
    "google_crc32c": ("bert_jax.checkpoints.tensor_bundle",),
    # Reads the operations of a pickle and runs none.
    "pickletools": ("bert_jax.checkpoints.torch_file",),
    "tensorflow_datasets": ("bert_jax.tasks.tfds", "bert_jax.corpus.tfds_text", "bert_jax.tasks.synthetic.builder"),
    "array_record": ("bert_jax.corpus.shards",),
    "sentencepiece": ("bert_jax.tokenizers.tokenizer", "bert_jax.tokenizers.tokenizer_json"),
    "apache_beam": ("bert_jax.corpus.beam",),
    "psutil": ("benchmarks",),
    "tyro": ("experiments",),
    "rich": ("experiments", "bert_jax.analysis.report"),
    "matplotlib": ("bert_jax.analysis.figures", "bert_jax.analysis.curves", *_CLAIMS),
    "orbax": ("bert_jax.train.state_checkpoints",),
    "tensorboardX": ("bert_jax.train.log",),
    "wandb": ("bert_jax.train.log",),
    "pandas": (
        "bert_jax.analysis.comparison",
        "bert_jax.analysis.figures",
        "bert_jax.analysis.power",
        "bert_jax.analysis.report",
        "bert_jax.analysis.claims.frames",
        *_CLAIMS,
        "experiments.reproduce",
    ),
    "torch": ("benchmarks",),
    "transformers": ("benchmarks",),
    "sentence_transformers": ("benchmarks",),
    "tensorflow": (),
    "pickle": (),
}
"""Library -> the modules that may import it, and no others."""

RANDOM = {"default_rng", "Generator", "SeedSequence", "Philox"}
"""What may be used of numpy.random: nothing that has a global state."""

MAX_FILE, MAX_FUNCTION = 400, 60


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
EVERY = pytest.mark.parametrize("name", FILES)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def imports(name: str) -> set[str]:
    """The modules that a module imports, anywhere in it; `from package import module` is an import of the module."""
    found: set[str] = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{FILES[name]}, line {node.lineno}: say the whole name of what is imported"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {module if module in FILES else str(node.module) for module in full}
    return found


def layer(name: str) -> tuple[int, str]:
    """How high a module stands, and its entry in the table."""
    entries = [(height, entry) for height, row in enumerate(LAYERS) for entry in row]
    within = [(height, entry) for height, entry in entries if is_in(name, entry)]
    holds = [(height + 0.5, name) for height, entry in entries if is_in(entry, name)]
    assert within or holds, f"{name} is in no layer: add it to LAYERS in tests/test_architecture.py"
    return max(within or holds)


@EVERY
def test_imports_point_down(name):
    height, entry = layer(name)
    for other in imports(name) & set(FILES):
        other_height, other_entry = layer(other)
        assert other_height < height or other_entry == entry, (
            f"{FILES[name].relative_to(ROOT)} imports {other}, which is not below it"
        )


@EVERY
def test_libraries_are_used_where_they_belong(name):
    for library, homes in ONLY_IN.items():
        used = [module for module in imports(name) if is_in(module, library)]
        assert not used or any(is_in(name, home) for home in homes), (
            f"{FILES[name].relative_to(ROOT)} imports {used[0]}; only {', '.join(homes) or 'nothing'} may"
        )


def dotted(node: ast.AST) -> str:
    """`jax.numpy.sum` of an expression that is such a name."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


@EVERY
def test_nothing_is_said_where_it_must_not_be(name):
    for node in ast.walk(TREES[name]):
        said, where = dotted(node), f"{FILES[name].relative_to(ROOT)}, line {getattr(node, 'lineno', 0)}"
        if said.startswith(("np.random.", "numpy.random.")):
            assert said.split(".")[2] in RANDOM, f"{where}: {said} has a global state"
        assert said not in ("eval", "exec", "pickle"), f"{where}: {said}"
        if said.split(".")[-1] in ("pmap", "shard_map", "local_device_count", "device_count"):
            assert is_in(name, "bert_jax.parallel.devices") or is_in(name, "benchmarks"), (
                f"{where}: {said} is said in train/parallel.py only"
            )
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{where}: allow_pickle"


@EVERY
def test_files_and_functions_are_short(name):
    lines = len(FILES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE, f"{FILES[name].relative_to(ROOT)} has {lines} lines"
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MAX_FUNCTION, f"{FILES[name].relative_to(ROOT)}: {node.name} has {lines} lines"


@EVERY
def test_every_module_says_what_it_is(name):
    assert ast.get_docstring(TREES[name]), f"{FILES[name].relative_to(ROOT)} has no docstring"


def test_the_rules_catch_what_they_are_for(monkeypatch):
    code = "import torch\nfrom bert_jax.train import step\nimport numpy as np\nnp.random.seed(0)\n"
    name = "bert_jax.data.masking"
    monkeypatch.setitem(TREES, name, ast.parse(code))
    for rule in (
        test_imports_point_down,
        test_libraries_are_used_where_they_belong,
        test_nothing_is_said_where_it_must_not_be,
        test_every_module_says_what_it_is,
    ):
        with pytest.raises(AssertionError, match="data/masking"):
            rule(name)
