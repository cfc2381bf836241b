"""Numbers in the pages are those of runs that were made."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SOURCES = [*ROOT.glob("results/what-is-in-cls/*/claims.md"), ROOT / "results/coverage/README.md"]
RUNS = {line for page in SOURCES for line in page.read_text(encoding="utf-8").splitlines()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_line_of_a_table_is_a_line_of_a_run(page):
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert lines, f"{page} has no table"
    assert not [line for line in lines if line not in RUNS], (
        f"{page}: copy tables from {', '.join(str(source) for source in SOURCES)}"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_figure_and_link_of_a_page_is_there(page):
    places = [part.split(")")[0] for part in page.read_text(encoding="utf-8").split("](")[1:]]
    missing = [place for place in places if "://" not in place and not (page.parent / place.split("#")[0]).exists()]
    assert places and not missing
