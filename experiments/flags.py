"""The commands that have a flag, found in their source: importing all of them takes seconds."""

import ast
from pathlib import Path

_FOLDER = Path(__file__).parent


def commands_with(flag: str) -> list[str]:
    """The modules whose `main(config: SETTINGS)` has a flag, such as `glue-dir`, in alphabetic order."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.rglob("*.py"))}
    nodes = [(path, node) for path, tree in trees.items() for node in tree.body]
    classes = {node.name: node for _, node in nodes if isinstance(node, ast.ClassDef)}
    mains = {path: node for path, node in nodes if isinstance(node, ast.FunctionDef) and node.name == "main"}
    return [
        f"experiments.{path.stem}"
        for path, main in mains.items()
        if main.args.args and any(flag.replace("-", "_") in _fields(one, classes) for one in _names(main.args.args[0]))
    ]


def _names(node: ast.AST) -> list[str]:
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]


def _fields(name: str, classes: dict[str, ast.ClassDef]) -> set[str]:
    """The annotated names of a class and of its bases."""
    if name not in classes:
        return set()
    own = {
        str(line.target.id)
        for line in classes[name].body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    return own.union(*(_fields(base, classes) for node in classes[name].bases for base in _names(node)))
