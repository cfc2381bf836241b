"""The pages say what is so: their links lead somewhere, their commands parse, and their numbers are those of runs."""

import pkgutil
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import bert_jax
from experiments import cli

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
GUIDES = [README, CONTRIBUTING, *DOCS]
PAGES = [*GUIDES, ROOT / "results" / "README.md", ROOT / "benchmarks" / "README.md"]
CLAIMS = ROOT / "docs" / "what-is-in-cls.md"

FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
SEPARATORS = {"&&", "||", ";", "|"}


def name_of(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The names of a page's headings in a link, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def tables(page: Path) -> list[list[str]]:
    """The lines of each table of a page, its heading first."""
    found = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8") + "\n", re.MULTILINE)
    return [table.splitlines() for table in found]


# Links.


def broken_links(page: Path) -> list[str]:
    """The links of a page to files or headings that are not there."""
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page)))
    broken = []
    for link in (link for link in links if "://" not in link):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page):
    assert not broken_links(page)


def test_every_page_can_be_reached_from_the_readme():
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", README.read_text(encoding="utf-8"))}
    assert {name_of(page) for page in PAGES} - {"README.md"} <= links


def test_the_check_of_links_finds_broken_ones(tmp_path):
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text('# One (a) "two"\n```\n# Comment\n```\n')
    page.write_text(
        "[1](other.md#one-a-two) [2](other.md#comment) [3](none.md) [4](#here) `[5](code)` [6](https://a.b)\n"
    )
    assert broken_links(page) == ["other.md#comment", "none.md", "#here"]


# Commands and names.


def commands(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """The commands `python -m experiments.NAME ARGUMENTS` of a page, in blocks and in lines, without duplicates."""
    text = text.replace("\\\n", " ").replace("\\|", "|")
    blocks = [line for block in FENCED.finditer(text) for line in block.group().splitlines()]
    spans = re.findall(r"`([^`\n]+)`", FENCED.sub("", text))
    return list(dict.fromkeys(found for line in [*blocks, *spans] for found in _commands_of(line)))


def _commands_of(line: str) -> list[tuple[str, tuple[str, ...]]]:
    if "-m experiments." not in line:
        return []
    words, found = shlex.split(line, comments=True), []
    for place, word in enumerate(words):
        if " -m experiments." in word:  # a command within an argument
            found += _commands_of(word.partition("=")[2])
        elif word == "-m" and words[place + 1].startswith("experiments."):
            rest = words[place + 2 :]
            end = next((i for i, one in enumerate(rest) if one in SEPARATORS), len(rest))
            found.append((words[place + 1].removeprefix("experiments."), tuple(rest[:end])))
    return found


COMMANDS = list(dict.fromkeys(found for page in GUIDES for found in commands(page.read_text(encoding="utf-8"))))


class Parsed(Exception):
    """The command line was understood."""


def parse(name: str, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Start an experiment as its command does, as far as its settings; raises `Parsed` if they are understood."""
    understand = cli.parse

    def parse_only(*arguments: object) -> None:
        understand(*arguments)
        raise Parsed

    monkeypatch.setattr(cli, "parse", parse_only)
    monkeypatch.setattr(sys, "argv", [f"experiments.{name}", *args])
    runpy.run_path(str(ROOT / "experiments" / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize(("name", "args"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_is_one_that_its_experiment_understands(name, args, monkeypatch):
    if (name, args) == ("reproduce", ("list",)):
        return
    with pytest.raises(Parsed):
        parse(name, args, monkeypatch)


def test_the_check_of_commands_finds_wrong_ones(monkeypatch, capsys):
    block = "```\nsrun .venv/bin/python -m experiments.probe nowhere --seeds 1  # really\n```\n"
    text = block + "`python -m experiments.sts --sets`\n"
    assert commands(text) == [("probe", ("nowhere", "--seeds", "1")), ("sts", ("--sets",))]
    assert commands('ssh --command="cd x && python -m experiments.sts sts"') == []
    assert commands('```\nssh --command="cd x && python -m experiments.sts sts"\n```') == [("sts", ("sts",))]
    for args, said in ((("nowhere",), "unknown configuration 'nowhere'"), (("glue", "--pooling", "cls"), "--pooling")):
        with pytest.raises(SystemExit):
            parse("probe", args, monkeypatch)
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_name_in_the_code_is_there(page):
    spans = re.findall(r"`([^`\n]+)`", FENCED.sub("", page.read_text(encoding="utf-8")))
    named = {span for span in spans if re.fullmatch(r"(bert_jax|experiments)(\.\w+)+(?<!\.py)", span)}
    for span in sorted(named):
        pkgutil.resolve_name(span)
    files = {
        span for span in spans if re.fullmatch(r"(bert_jax|experiments|configs|tests|docs|results)/[\w./-]+", span)
    }
    assert not [file for file in sorted(files) if not (ROOT / file).exists()]


def test_every_module_of_the_library_is_in_the_tree_of_the_architecture():
    page = ROOT / "docs" / "architecture.md"
    blocks = [found.group() for found in FENCED.finditer(page.read_text(encoding="utf-8"))]
    (tree,) = [block for block in blocks if "\nbert_jax/" in block]
    modules = {path.stem for pattern in ("*.py", "*/*.py") for path in (ROOT / "bert_jax").glob(pattern)} - {"__init__"}
    assert not modules - set(re.findall(r"\w+", tree)), f"{page}: name them under Files"


def test_the_quickstart_runs(minilm, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    hub_id = re.search(r'load\("(.*?)"\)', code)
    assert hub_id and len([line for line in code.splitlines() if line]) <= 5
    exec(compile(code.replace(hub_id.group(1), str(minilm)), str(README), "exec"), {})
    (said,) = re.findall(r"print.*# (.*)", code)
    assert capsys.readouterr().out.strip() == said


# Numbers.

RUNS = {
    line
    for pattern in ("results/**/table.md", "results/what-is-in-cls/*/claims.md")
    for report in ROOT.glob(pattern)
    for line in report.read_text(encoding="utf-8").splitlines()
    if line.startswith("|")
}


def test_every_line_of_a_table_of_claims_is_a_line_of_a_run():
    found = [line for table in tables(CLAIMS) for line in table]
    assert found and not [line for line in found if line not in RUNS], f"{CLAIMS}: copy tables from results"


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_a_table_with_the_heading_of_a_run_has_its_lines(page):
    of_runs = [table for table in tables(page) if table[0] in RUNS]
    assert not [line for table in of_runs for line in table if line not in RUNS], f"{page}: copy tables from results"
    assert of_runs or page not in (README, ROOT / "docs" / "ablation.md")


# The rest.


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_versions_are_those_of_the_package():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    pinned = re.search(r"^ruff==\S+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned and set(re.findall(r"ruff==[^\]\s]+", hooks)) == {pinned.group()}
    assert f"\nversion: {bert_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
