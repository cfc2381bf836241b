"""The layers of the code, bottom to top, and what is said in one place only. An import may only point down."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("bert_jax", "experiments", "configs", "benchmarks")

LEVELS = (
    ("bert_jax.errors", "bert_jax.types", "bert_jax.spec", "bert_jax.version", "bert_jax.rounding"),
    (
        *("bert_jax.config", "bert_jax.pretrain_config", "bert_jax.files", "bert_jax.json_lines"),
        *("bert_jax.json_object", "bert_jax.encode_interface", "bert_jax.remote"),
    ),
    ("bert_jax.tokenizers", "bert_jax.tasks", "bert_jax.model"),
    ("bert_jax.corpus", "bert_jax.checkpoints"),
    ("bert_jax.data",),
    ("bert_jax.parallel",),
    ("bert_jax.pretrained",),
    ("bert_jax.train", "bert_jax.evaluate"),
    ("bert_jax.study",),
    ("bert_jax.analysis", "bert_jax.integrations"),
    ("experiments",),
    ("configs", "benchmarks"),
)
"""Folders and top-level files, bottom to top. An entry imports from the levels below its own and from itself; those of
one level do not know each other, except that the files of the first two may. The package `bert_jax` itself, which
gives `load` on demand, stands above what it holds."""

ONLY_IN = {
    "jax": (
        "bert_jax.types",
        "bert_jax.model",
        "bert_jax.checkpoints.checkpoint",
        "bert_jax.parallel",
        "bert_jax.pretrained",
        "bert_jax.train",
        "bert_jax.evaluate",
        "benchmarks",
    ),
    "flax": ("bert_jax.model", "benchmarks"),
    "optax": ("bert_jax.train", "benchmarks"),
    "safetensors": ("bert_jax.checkpoints",),
    "huggingface_hub": ("bert_jax.checkpoints", "bert_jax.tasks.hub_data", "bert_jax.study.cards"),
    "google_crc32c": ("bert_jax.checkpoints.tensor_bundle",),
    # Reads the operations of a pickle and runs none.
    "pickletools": ("bert_jax.checkpoints.torch_file",),
    "tensorflow_datasets": ("bert_jax.tasks.tfds", "bert_jax.corpus.tfds_text", "bert_jax.tasks.synthetic.builder"),
    "array_record": ("bert_jax.corpus.shards",),
    "fsspec": ("bert_jax.remote",),
    "sentencepiece": ("bert_jax.tokenizers",),
    "apache_beam": ("bert_jax.corpus.beam",),
    "psutil": ("benchmarks",),
    "tyro": ("experiments",),
    "rich": ("bert_jax.study", "bert_jax.analysis.report", "experiments"),
    "matplotlib": ("bert_jax.analysis",),
    "pandas": ("bert_jax.analysis", "experiments.disagreements", "experiments.reproduce"),
    "jinja2": ("bert_jax.analysis.page",),
    "pyarrow": ("bert_jax.tasks.table_files",),
    "orbax": ("bert_jax.train.state_checkpoints",),
    "tensorboardX": ("bert_jax.train.log",),
    "wandb": ("bert_jax.train.log",),
    # For callers that ask for tensors; nothing is computed with it but cosines of theirs.
    "torch": ("bert_jax.encode_interface", "benchmarks"),
    "mteb": ("bert_jax.integrations.mteb",),
    "transformers": ("benchmarks",),
    "sentence_transformers": ("benchmarks",),
    "tensorflow": (),
    "pickle": (),
}
"""Library -> the modules that may import it, and no others."""

DEVICES = {
    *("pmap", "shard_map", "split_batch"),
    *("device_count", "local_device_count", "devices", "local_devices", "default_backend"),
    *("process_index", "process_count"),
}
"""What only `bert_jax.parallel` may say of jax: elsewhere a batch is whole, and nobody counts devices or hosts."""

RANDOM = {"default_rng", "Generator", "SeedSequence", "Philox"}
"""What may be used of numpy.random: nothing that has a global state."""

MAX_FILE, MAX_FUNCTION, MAX_ANY = 400, 60, 59


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


def level(name: str) -> tuple[int, str]:
    """The number of a module's level, and its entry there."""
    found = [(number, entry) for number, row in enumerate(LEVELS) for entry in row if is_in(name, entry)]
    assert found, f"{name} is on no level: add it to LEVELS in tests/test_architecture.py"
    return found[0]


@EVERY
def test_imports_point_down(name):
    if name == "bert_jax":
        return
    number, entry = level(name)
    for other in imports(name) & set(FILES) - {"bert_jax"}:
        other_number, other_entry = level(other)
        may = other_number < number or other_entry == entry or other_number == number < 2
        assert may, f"{FILES[name].relative_to(ROOT)} imports {other}, which is not below it"


def test_levels_are_few_and_each_entry_is_a_folder_or_a_file():
    entries = [entry for row in LEVELS for entry in row]
    assert len(LEVELS) <= 12 and len(set(entries)) == len(entries)
    for entry in entries:
        path = ROOT / entry.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), entry


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes that lead back to themselves, in order; empty if there are none."""
    left = {node: set(graph[node]) & set(graph) - {node} for node in graph}
    while done := [node for node, others in left.items() if not others]:
        left = {node: others - set(done) for node, others in left.items() if node not in done}
    path = [next(iter(left))] if left else []
    while path and path[-1] not in path[:-1]:
        path.append(min(left[path[-1]]))
    return path


def folder_of(name: str) -> str:
    """The folder of a module; a file beside folders stands for itself."""
    parts = name.split(".")
    return name if len(parts) < 3 and FILES[name].name != "__init__.py" else ".".join(parts[:2])


def test_neither_files_nor_folders_import_in_a_circle():
    files = {name: imports(name) - {"bert_jax"} for name in FILES if name != "bert_jax"}
    assert not circle(files), " imports ".join(circle(files))
    folders: dict[str, set[str]] = {}
    for name, others in files.items():
        folders.setdefault(folder_of(name), set()).update(folder_of(other) for other in others & set(files))
    assert not circle(folders), " imports ".join(circle(folders))


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}})[-2:] in (["b", "c"], ["c", "b"])


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
        if (said.startswith("jax.") and said.split(".")[-1] in DEVICES) or said.split(".")[-1] == "split_batch":
            assert is_in(name, "bert_jax.parallel"), f"{where}: {said} is said in parallel/ only"
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


def lines_with_any(name: str) -> list[str]:
    """The lines of a module on which a type is `Any`."""
    nodes = (node for node in ast.walk(TREES[name]) if isinstance(node, ast.Name) and node.id == "Any")
    return [f"{FILES[name].relative_to(ROOT)}:{line}" for line in sorted({node.lineno for node in nodes})]


def test_few_types_are_any():
    found = [line for name in FILES if is_in(name, "bert_jax") for line in lines_with_any(name)]
    assert len(found) <= MAX_ANY, f"{len(found)} types are Any; use an alias, such as files.Json or types.Tree: {found}"


@EVERY
def test_every_module_says_what_it_is(name):
    assert ast.get_docstring(TREES[name]), f"{FILES[name].relative_to(ROOT)} has no docstring"


@pytest.mark.parametrize(
    "forbidden",
    ["np.random.seed(0)", *(f"jax.{said}()" for said in sorted(DEVICES)), "devices.split_batch(batch)"],
)
def test_the_rules_catch_what_they_are_for(monkeypatch, forbidden):
    code = f"import torch\nfrom bert_jax.train import step\nimport numpy as np\n{forbidden}\n"
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
