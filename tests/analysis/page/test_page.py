"""The page of a run folder in a browser: nothing in the data runs, filters and sorting work, and it stays small."""

import json
import re

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from folders import CLOSENESS, REVIEWS, flipped, write_folder

from bert_jax.analysis.disagreements import disagreements
from bert_jax.analysis.page.compact import unpack
from bert_jax.analysis.page.page import PAGE, render
from bert_jax.analysis.report import examine, write_report
from bert_jax.errors import InputError
from bert_jax.study.store import read_rows
from experiments.report import ReportConfig, main

CLS, MEAN = "last/cls/none", "last/mean/none"
EVIL = "</script><img src=x onerror=document.title='broken'><script>document.title='broken'</script>"
LABELS = np.tile([0, 1, 1], 40)
SIDES = {
    CLS: [flipped(LABELS, 0.3, seed) for seed in range(3)],
    MEAN: [flipped(LABELS, 0.15, seed + 9) for seed in range(3)],
}


def texts(rows):
    return [
        (f"review {i} is {'not ' * (i % 4 == 0)}{'good' if i % 3 else 'bad'} {EVIL * (i == 7)}", None) for i in rows
    ]


def sets_of(html):
    return [unpack(found) for found in re.findall(r'octet-stream" id="set-\d+">([^<]*)<', html)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "my <b>run"
    groups = [EVIL if i % 2 else "even" for i in range(120)]
    write_folder(folder, REVIEWS, texts(range(120)), LABELS, SIDES, groups, encoder=f"tiny {EVIL}")
    (folder / "commands.txt").write_text("python -m experiments.ablate_pooling glue --tasks '<reviews>.toml'\n")
    write_report(folder, show=False)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def test_nothing_of_the_data_is_markup(folder):
    html = (folder / PAGE).read_text(encoding="utf-8")
    assert html.count("<script>") == 1 and "<img" not in html and "my <b>" not in html
    assert "python -m experiments.ablate_pooling glue --tasks &#39;&lt;reviews&gt;.toml&#39;" in html
    assert "http://" not in html and "https://" not in html


def test_the_page_holds_the_predictions_of_every_seed_and_the_texts(folder):
    (found,) = sets_of((folder / PAGE).read_text(encoding="utf-8"))
    assert found["classes"] == ["bad", "good"] and found["a"][7] == texts(range(120))[7][0] and found["b"] is None
    said = ["".join("AB"[one] for one in predictions) for predictions in SIDES[MEAN]]
    assert [one["text"] for one in found["sides"][1]["predictions"]] == said
    assert found["sides"][1]["name"] == "mean" and found["sides"][1]["seeds"] == ["0", "1", "2"]


def test_a_folder_without_texts_says_so(tmp_path):
    folder = write_folder(tmp_path / "old", REVIEWS, None, LABELS, SIDES)
    html = render([examine(folder)])
    assert "The texts of Reviews are not in the run folder" in html and "by text are" in html
    assert sets_of(html)[0]["a"] is None


def test_ten_thousand_examples_of_ten_readouts_and_ten_seeds_are_below_5_mb(tmp_path):
    rng, rows = np.random.default_rng(0), 10_000
    words = np.array([f"word{i}" for i in range(3_000)])
    labels = rng.integers(0, 2, rows)
    sides = {
        f"last/{name}/none": [flipped(labels, 0.2, 10 * k + s) for s in range(10)]
        for k, name in enumerate("abcdefghij")
    }
    pairs = [(" ".join(a), " ".join(b)) for a, b in words[rng.integers(0, len(words), (rows, 2, 12))]]
    folder = write_folder(tmp_path / "large", REVIEWS, pairs, labels, sides)
    size = len(render([examine(folder)]).encode())
    assert size < 5_000_000


def test_a_larger_set_keeps_the_rows_on_which_readouts_differ_most(tmp_path, monkeypatch):
    monkeypatch.setattr("bert_jax.analysis.page.sets.MOST", 30)
    folder = write_folder(tmp_path / "run", REVIEWS, texts(range(120)), LABELS, SIDES)
    (found,) = sets_of(render([examine(folder)]))
    merits = [np.mean([one == LABELS for one in SIDES[side]], axis=0) for side in (CLS, MEAN)]
    gaps = np.abs(merits[1] - merits[0])
    assert len(found["rows"]) == 30 == len(found["labels"]["text"]) and found["total"] == 120
    assert gaps[found["rows"]].min() >= np.delete(gaps, found["rows"]).max()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_breaks_in_a_browser(browser, folder, width, dark, tmp_path):
    browser.open(folder / PAGE, width, dark=dark)
    browser.screenshot(tmp_path / "page.png")
    assert not browser.errors
    assert browser.evaluate("document.title") == "my <b>run"
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    sizes = browser.evaluate(
        "[...document.querySelectorAll('body *')].filter((one) => one.checkVisibility())"
        ".map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(sizes) >= 12


def test_a_heading_sorts_the_table(browser, folder):
    browser.open(folder / PAGE)
    column = "[...document.querySelectorAll('#score-table tbody tr')].map((row) => row.cells[3].textContent)"
    before = browser.evaluate(column)
    browser.evaluate("document.querySelectorAll('#score-table th button')[3].click()")
    falling = browser.evaluate(column)
    assert falling == sorted(before, key=lambda text: -float(text.split()[0]))
    browser.evaluate("document.querySelectorAll('#score-table th button')[3].focus()")
    browser.press("Enter")
    assert browser.evaluate(column) == falling[::-1] and falling != falling[::-1]


def choose(browser, **values):
    for name, value in values.items():
        event = "input" if name == "search" else "change"
        browser.evaluate(
            f"controls.elements[{json.dumps(name)}].value = {json.dumps(value)};"
            f"controls.elements[{json.dumps(name)}].dispatchEvent(new Event('{event}', {{bubbles: true}}))"
        )


def found_rows(browser):
    """Rows shown, with those behind `Show more`."""
    browser.evaluate("while (!more.hidden) more.click()")
    return [
        int(row) for row in browser.evaluate("[...list.children].map((one) => one.textContent.match(/row (\\d+)/)[1])")
    ]


def test_examples_are_filtered_and_searched(browser, folder):
    browser.open(folder / PAGE)
    first, second = (np.mean([one == LABELS for one in SIDES[side]], axis=0) for side in (CLS, MEAN))
    assert sorted(found_rows(browser)) == np.flatnonzero(first != second).tolist()
    choose(browser, show="second")
    assert sorted(found_rows(browser)) == np.flatnonzero(second > first).tolist()
    choose(browser, show="all", label="bad", group="even")
    assert sorted(found_rows(browser)) == [i for i in range(120) if LABELS[i] == 0 and i % 2 == 0]
    choose(browser, label="", group="", search="REVIEW 7 ")
    assert found_rows(browser) == [7]
    said = browser.evaluate("list.children[0].querySelectorAll('.side')[1].textContent")
    assert said.startswith(f"mean: right {second[7]:.2f}") and not browser.errors


def test_the_table_of_slices_is_filtered(browser, folder):
    browser.open(folder / PAGE)
    browser.evaluate(
        "slices = document.querySelector('[data-table=slice-table]'); kind = slices.querySelectorAll('select')[0];"
        "kind.value = 'negation'; kind.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    lines = "[...document.querySelectorAll('#slice-table tbody tr')].filter((row) => !row.hidden)"
    assert sorted(browser.evaluate(f"{lines}.map((row) => row.cells[2].textContent)")) == [
        "with",
        "with",
        "without",
        "without",
    ]


def test_scores_are_compared_by_rank_as_in_the_command(browser, tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 11, 60) / 2
    sides = {name: [(labels + rng.normal(size=60)).astype(np.float32) for _ in range(2)] for name in (CLS, MEAN)}
    pairs = [(f"text {i}", f"other {i}") for i in range(60)]
    folder = write_folder(tmp_path / "scores", CLOSENESS, pairs, labels, sides)
    write_report(folder, show=False)
    browser.open(folder / PAGE)
    expected = disagreements(folder, read_rows(folder), "cls", "mean").head(5)
    assert found_rows(browser)[:5] == expected["row"].tolist() and not browser.errors


def test_several_folders_make_one_page_with_their_encoders_side_by_side(browser, folder, tmp_path, capsys):
    other = write_folder(tmp_path / "other", REVIEWS, None, LABELS, {CLS: SIDES[MEAN]}, encoder="second")
    same = write_folder(tmp_path / "same", REVIEWS, texts(range(120)), LABELS, SIDES, encoder="second")
    before = sorted(other.iterdir())
    main(ReportConfig((folder, other, same), html=tmp_path / "site"))
    assert capsys.readouterr().out.strip() == str(tmp_path / "site" / "index.html")
    assert sorted(other.iterdir()) == before
    browser.open(tmp_path / "site" / "index.html")
    names = f"tiny {EVIL}", "other", "same"
    whose = [(names[0], "cls"), (names[0], "mean"), (names[1], "cls"), (names[2], "cls"), (names[2], "mean")]
    sides = [f"{readout}, {name}" for name, readout in whose]
    assert browser.evaluate("[...controls.elements.first.options].map((one) => one.text)") == sides
    lines = "[...document.querySelectorAll('#score-table tbody tr')].map((row) => row.cells[2].textContent)"
    assert browser.evaluate(lines) == [name for name, _ in whose]
    choose(browser, first="1", second="2", show="differ")
    assert not found_rows(browser) and not browser.errors, "the second encoder predicts what the first one does"


def test_a_folder_is_not_given_twice(folder):
    with pytest.raises(InputError, match="given twice"):
        ReportConfig((folder, folder))
