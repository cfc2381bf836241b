"""Tables and figures say what the rows say, of any grid of runs."""

import json
import math
import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from bert_jax.analysis.comparison import differences, grid, summarise
from bert_jax.analysis.crossed import measure
from bert_jax.analysis.estimates import FEW, METHODS
from bert_jax.analysis.figures import draw, draw_heat_maps
from bert_jax.analysis.report import write_pretrainings, write_report
from bert_jax.analysis.statistics import adjust
from bert_jax.errors import InputError
from bert_jax.files import digest
from bert_jax.study.store import SEEDLESS, ResultStore, Row, read_rows

CLS, MEAN, MAX = (f"last/{pooling}/none" for pooling in ("cls", "mean", "max"))
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1], [40, 60]))
EXPERIMENT = {"encoder": "my_tiny", "finetune": {"epochs": 3, "batch_size": 32, "max_length": 64}}


def answers(right):
    """Predictions of which exactly `right` of 100 are right, the wrong ones anywhere."""
    wrong = np.random.default_rng(right).permutation(100)[right:]
    return np.where(np.isin(np.arange(100), wrong), 1 - LABELS, LABELS)


class Runs:
    """A run folder, and a short way to put rows in it."""

    def __init__(self, folder, **settings):
        self.folder, self.store, self.settings = folder, ResultStore(folder, EXPERIMENT | settings), settings

    def add(
        self,
        readout,
        *rights,
        task="rte",
        rate=5e-5,
        evaluations=("validation",),
        labels=LABELS,
        held=(),
        pretraining=0,
    ):
        """One run per seed with so many right answers; None for a run that failed. held: as many of 100 on held-out
        training rows."""
        for seed, right in enumerate(rights):
            config = {"readout": readout, "task": task, "rate": rate, "seed": seed, "pretraining": pretraining}
            config |= self.settings
            failed = right is None
            found = {} if failed else {name: (answers(right), labels) for name in evaluations}
            row = Row(
                id=digest(config),
                task=task,
                title=task.upper(),
                metric="accuracy",
                is_regression=False,
                readout=readout,
                learning_rate=rate,
                seed=seed,
                status="failed" if failed else "ok",
                failed_step=3 if failed else None,
                seconds=2.0 + seed,
                train_examples=10,
                evaluation_examples=dict.fromkeys(evaluations, 100),
                metrics={
                    name: {"accuracy": float(accuracy_score(truth, said))} for name, (said, truth) in found.items()
                },
                majority={name: {"accuracy": 0.6} for name in evaluations},
                config=config,
                details={"heldout": {"accuracy": held[seed] / 100}} if held and not failed else {},
                pretraining=pretraining,
            )
            self.store.append(row, found)
        return self

    @property
    def rows(self):
        return read_rows(self.folder)

    def summary(self):
        return summarise(self.rows, self.folder)

    def compared(self, **options):
        return differences(self.rows, self.folder, **options)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "run")


def test_summary_counts_and_averages_the_runs_that_finished(runs):
    (line,) = runs.add(CLS, 70, 60, None, 90).summary().to_dict("records")
    assert line["mean"] == pytest.approx(220 / 3) and line["sd"] == pytest.approx(np.std([70, 60, 90], ddof=1))
    assert line["low"] < line["mean"] < line["high"] and line["majority"] == 60
    assert (line["seeds"], line["degenerate"], line["failed"], line["seconds"]) == (3, 1, 1, 3.5)


def test_difference_is_that_of_the_seeds_which_finished_on_both_sides(runs):
    (line,) = runs.add(CLS, 70, None, 72, 74).add(MEAN, 80, 100, 78).compared().to_dict("records")
    a, b = (np.stack([answers(right) for right in side]) for side in ((70, 72), (80, 78)))
    assert (line["reference"], line["readout"], line["pairs"]) == (CLS, MEAN, 2)
    figures = [line[name] for name in ("difference", "low", "high", "p")]
    expected = measure("accuracy", np.stack([a, b]), LABELS).difference(0, 1).test()
    np.testing.assert_allclose(figures, np.array(expected) * [100, 100, 100, 1])
    assert line["difference"] == pytest.approx(8) and line["p_adjusted"] == line["p"]


def test_p_is_corrected_for_every_comparison_in_the_table_that_was_made(runs):
    runs.add(CLS, 70, 72).add(MEAN, 71, 75).add(MAX, 90, 95)
    runs.add(CLS, None, task="cola").add(MEAN, 80, task="cola")
    frame = runs.compared()
    best, worst = sorted(frame["p"].dropna())
    assert sorted(frame["p_adjusted"].dropna()) == [2 * best, max(worst, 2 * best)]
    assert math.isnan(frame["difference"].iloc[-1]) and frame["pairs"].iloc[-1] == 0


def test_the_reference_can_be_chosen_and_must_exist(runs):
    runs.add(CLS, 70, 72).add(MEAN, 80, 79)
    there, back = runs.compared(), runs.compared(reference=MEAN)
    assert there["difference"].iloc[0] == pytest.approx(-back["difference"].iloc[0])
    with pytest.raises(InputError, match="unknown readout 'mean'"):
        runs.compared(reference="mean")


def test_the_rate_with_the_best_mean_is_chosen_and_the_report_says_so(runs, capsys):
    runs.add(CLS, 70, 72, rate=2e-5).add(CLS, 80, 79, rate=5e-5).add(MEAN, 75, 75, rate=2e-5).add(MEAN, 60, 61)
    summary = runs.summary()
    assert summary["learning_rate"].tolist() == [5e-5, 2e-5] and summary["mean"].tolist() == [79.5, 75]
    write_report(runs.folder)
    text = (runs.folder / "table.md").read_text()
    assert "2e-5" in text and "chosen on the evaluation set" in text


def test_a_rate_is_not_chosen_for_the_one_run_that_survived_it(runs):
    runs.add(CLS, 90, None, None, None, rate=1e-3).add(CLS, 80, 80, 80, 80, rate=5e-5)
    assert runs.summary()["learning_rate"].tolist() == [5e-5]


def test_a_rate_is_chosen_on_held_out_rows_where_all_runs_have_them(runs, capsys):
    runs.add(CLS, 70, 72, rate=2e-5, held=(90, 90)).add(CLS, 80, 79, rate=5e-5, held=(60, 61))
    runs.add(CLS, 99, None, None, rate=1e-3, held=(99, 0, 0))
    (line,) = runs.summary().to_dict("records")
    assert (line["learning_rate"], line["mean"], line["selected_on"]) == (2e-5, 71, "heldout")
    write_report(runs.folder)
    text = (runs.folder / "table.md").read_text()
    assert "chosen on held-out training rows" in text and "on the evaluation set" not in text
    runs.add(CLS, 85, rate=1e-4)
    (line,) = runs.summary().to_dict("records")
    assert (line["learning_rate"], line["selected_on"]) == (1e-4, "evaluation")


def test_pretrainings_are_what_an_interval_is_over_where_there_are_several(runs):
    gaps = {0: (4, 6), 1: (10, 12), 2: (7, 7)}
    for pretraining, (one, other) in gaps.items():
        runs.add(CLS, 70, 72, pretraining=pretraining).add(MEAN, 70 + one, 72 + other, pretraining=pretraining)
    (line,) = runs.compared().to_dict("records")
    assert (line["over"], line["pairs"], line["difference"]) == ("pretrainings", 6, pytest.approx(46 / 6))
    assert line["components"].readers == 3
    assert line["components"].between == pytest.approx(np.var([0.05, 0.11, 0.07], ddof=1))
    assert set(runs.summary()["over"]) == {"pretrainings"}
    write_report(runs.folder, show=False)
    assert "over pretrainings and examples." in (runs.folder / "table.md").read_text()


@pytest.mark.parametrize(("rights", "over"), [((70, 72, 74), "seeds"), ((70,), "examples")])
def test_the_table_says_what_its_intervals_are_over_and_by_which_method(runs, rights, over):
    runs.add(CLS, *rights).add(MEAN, *(right + 5 for right in rights))
    assert runs.compared()["over"].tolist() == [over]
    tables = {}
    for method in METHODS:
        write_report(runs.folder, show=False, method=method)
        tables[method] = (runs.folder / "table.md").read_text()
        assert METHODS[method] in tables[method] and "of this one encoder" in tables[method]
        assert ("over seeds and examples" in tables[method]) == (over == "seeds")
    assert (FEW in tables["obuchowski-rockette"]) == (over == "seeds") and FEW not in tables["multi-bootstrap"]
    intervals = [text.split("+5.0 ")[1][:12] for text in tables.values()]
    assert intervals[0] != intervals[1]


def test_other_seeds_are_not_spoken_of_where_no_seed_changes_anything(runs):
    runs.add(CLS, 70).add(MEAN, 75)
    write_report(runs.folder, show=False)
    assert "says nothing about other seeds" in (runs.folder / "table.md").read_text()
    path = runs.folder / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line | {"details": {SEEDLESS: True}}) + "\n" for line in lines))
    write_report(runs.folder, show=False)
    assert "other seeds" not in (runs.folder / "table.md").read_text()


def test_a_difference_is_also_given_without_degenerate_runs(runs):
    runs.add(CLS, 70, 60, 74, 76).add(MEAN, 75, 80, 59, 80)
    (line,) = runs.compared().to_dict("records")
    assert (line["pairs"], line["pairs_kept"]) == (4, 2)
    assert (line["difference"], line["difference_kept"]) == (pytest.approx(3.5), pytest.approx(4.5))
    write_report(runs.folder, show=False)
    text = (runs.folder / "table.md").read_text()
    assert "Without degenerate" in text and "+4.5 [" in text and "of 2 pairs" in text


def test_no_interval_goes_beyond_what_the_metric_can_be(runs):
    runs.add(CLS, 99, 61).add(MEAN, 40, 100)
    summary, compared = runs.summary(), runs.compared()
    assert summary["high"].max() == 100 and summary["low"].min() == 0
    assert compared["low"].min() == -100 and compared["high"].max() == 100


def test_what_it_takes_to_find_a_difference_is_told(runs, capsys):
    runs.add(CLS, 70, 72, 71).add(MEAN, 74, 79, 76)
    write_report(runs.folder, detect=3.0)
    out = capsys.readouterr().out
    assert "To find a difference of 3 points" in out and "For 80%" in out and "seeds" in out
    assert "Power: a true difference of 3 points" in (runs.folder / "table.md").read_text()


def test_another_evaluation_set_is_a_line_of_its_own(runs):
    sets = ("validation_matched", "validation_mismatched")
    runs.add(CLS, 70, 72, task="mnli", evaluations=sets).add(MEAN, 75, 76, task="mnli", evaluations=sets)
    assert runs.summary()["label"].tolist() == ["MNLI", "MNLI", "MNLI-mm", "MNLI-mm"]
    assert runs.compared()["label"].tolist() == ["MNLI", "MNLI-mm"]


def test_tasks_and_readouts_keep_the_order_in_which_they_came(runs):
    runs.add(MEAN, 70, task="rte").add(CLS, 70, task="cola").add(CLS, 80, task="rte").add(MEAN, 80, task="cola")
    assert [(task, list(cells)) for task, cells in grid(runs.rows).items()] == [
        ("rte", [MEAN, CLS]),
        ("cola", [MEAN, CLS]),
    ]


def test_runs_scored_on_different_labels_are_not_compared(runs):
    runs.add(CLS, 70).add(MEAN, 80, labels=1 - LABELS)
    with pytest.raises(InputError, match="different validation labels"):
        runs.compared()


GRIDS = {
    "full": lambda runs: runs.add(CLS, 70, 60, 72).add(MEAN, 80, 81, None).add(CLS, 90, 91, 92, task="cola"),
    "one run": lambda runs: runs.add(CLS, 70),
    "one seed": lambda runs: runs.add(CLS, 70).add(MEAN, 80),
    "all failed": lambda runs: runs.add(CLS, None, None).add(MEAN, None),
    "one side failed": lambda runs: runs.add(CLS, None, None).add(MEAN, 80, 81),
    "many": lambda runs: [runs.add(f"last/gem(p={p})/none", 70, 72) for p in range(9)],
}


@pytest.mark.parametrize("name", GRIDS)
def test_any_grid_is_reported_the_same_way_twice(runs, name, capsys):
    GRIDS[name](runs)
    made = []
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write_report(runs.folder)
        made.append(
            [(runs.folder / file).read_bytes() for file in ("table.md", "table.tex", "figure.png", "report.html")]
        )
    assert made[0] == made[1]
    assert "my_tiny; learning rate" in capsys.readouterr().out
    lines = [line for line in made[0][0].decode().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(runs.summary())


def test_the_table_says_what_it_must(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    GRIDS["full"](runs)
    write_report(runs.folder)
    markdown, latex = ((runs.folder / name).read_text(encoding="utf-8") for name in ("table.md", "table.tex"))
    for text in (markdown, capsys.readouterr().out):
        for part in (
            "67.3 \N{PLUS-MINUS SIGN} 6.4",
            "80.5 \N{PLUS-MINUS SIGN} 0.7",
            "+15.5 [",
            "degenerate",
            "1 failed",
        ):
            assert part in text
        assert "3 seeds" in text and "(100)" in text and "last/cls/none" in text
    assert r"\toprule" in latex and r"67.3 $\pm$ 6.4" in latex and r"my\_tiny" in latex and "95\\%" in latex


def test_the_terminal_loses_no_column_where_it_is_narrow(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    runs.add("last/attention(num_heads=4)/none", 70, None).add("-2/mylab.poolers.Gated(temperature=2.0)/mlp", 62, 63)
    write_report(runs.folder)
    header = next(line for line in capsys.readouterr().out.splitlines() if "Readout" in line)
    assert header.split() == ["Task", "Readout", "Score", "Difference", "p", "Runs", "Time"]


def test_the_figure_shows_every_run_that_finished_and_hollow_those_that_are_degenerate(runs):
    GRIDS["full"](runs)
    figure = draw(runs.rows, runs.summary(), runs.compared())
    points = [line for axes in figure.axes for line in axes.get_lines() if line.get_marker() == "o"]
    shown = sorted(float(line.get_xdata()[0]) for line in points)
    assert shown == pytest.approx([60, 70, 72, 80, 81, 90, 91, 92])
    assert [line.get_xdata()[0] for line in points if line.get_markerfacecolor() == "white"] == [pytest.approx(60)]


def test_maps_have_one_order_and_name_the_cells_that_failed_or_are_absent(runs):
    """The second task has no row for the first readout, and comes with another one first."""
    for task, readouts in (("rte", "0/cls 0/mean 1/cls 1/mean"), ("mrpc", "0/mean 1/mean 1/cls")):
        for place, readout in enumerate(readouts.split()):
            runs.add(f"{readout}/none", None if (task, readout) == ("rte", "1/cls") else 70 + place, task=task)
    first, second = draw_heat_maps(runs.summary(), runs.compared()).axes[:2]
    for axes in (first, second):
        assert [label.get_text() for label in axes.get_xticklabels()] == ["cls", "mean"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "0"]
    assert [text.get_text() for text in first.texts] == ["failed", "73.0", "70.0", "71.0"]
    assert [text.get_text() for text in second.texts] == ["72.0", "71.0", "absent", "70.0"]


def test_a_folder_without_rows_is_refused(runs):
    with pytest.raises(InputError, match="no finished run"):
        write_report(runs.folder)


def test_a_damaged_experiment_gives_no_heading_but_an_error(runs):
    runs.add(CLS, 70)
    (runs.folder / "experiment.json").write_text(json.dumps(EXPERIMENT)[:-1])
    with pytest.raises(InputError, match=r"experiment\.json"):
        write_report(runs.folder)


def test_a_difference_to_a_side_that_learned_nothing_is_shown_and_not_judged(runs):
    runs.add(CLS, 60, 50, 55).add(MEAN, 97, 98, 96).add(MAX, 61, 60, 60)
    judged = runs.compared().set_index("readout")
    assert judged.loc[MEAN, "p"] < 0.05 and math.isnan(judged.loc[MEAN, "p_adjusted"])
    write_report(runs.folder)
    table = (runs.folder / "table.md").read_text()
    assert "+42.0" in table and "the difference has no p" in table
    again = runs.add(CLS, 99, task="other").add(MEAN, 61, task="other").compared().set_index(["task", "readout"])
    assert math.isnan(again.loc[("rte", MEAN), "p_adjusted"])
    # Comparisons without a verdict still count in the adjustment of p.
    np.testing.assert_allclose(again["p_adjusted"].dropna(), adjust(again["p"])[again["verdict"].to_numpy(bool)])


def test_one_seed_above_the_majority_is_enough_to_judge(runs):
    compared = runs.add(CLS, 60, 62).add(MEAN, 97, 98).compared()
    assert compared["p_adjusted"].item() < 0.05 and compared["verdict"].item()


def test_folders_of_several_pretrainings_make_one_table_with_intervals_over_pretrainings(tmp_path, runs):
    folders = []
    for number, (cls, mean) in enumerate([((70, 72), (80, 84)), ((61, 65), (79, 77)), ((66, 70), (78, 75))]):
        folders.append(
            Runs(tmp_path / str(number), encoder_weights=f"w{number}").add(CLS, *cls).add(MEAN, *mean).folder
        )
        runs.add(CLS, *cls, pretraining=number).add(MEAN, *mean, pretraining=number)
    write_pretrainings(folders, tmp_path / "all", show=False)
    text = (tmp_path / "all" / "table.md").read_text()
    ((_, line),) = runs.compared().iterrows()
    assert line["over"] == "pretrainings"
    assert f"{line['difference']:+.1f} [{line['low']:.1f}, {line['high']:.1f}]" in text
    assert text.startswith("Encoder my_tiny, 3 pretrainings; ") and "over pretrainings and examples" in text
    assert (tmp_path / "all" / "figure.png").stat().st_size > 1000
    write_pretrainings(folders, tmp_path / "turned", show=False, reference=MEAN)
    turned = f"{-line['difference']:+.1f} [{-line['high']:.1f}, {-line['low']:.1f}]"
    assert turned in (tmp_path / "turned" / "table.md").read_text()
    Runs(tmp_path / "3", encoder_weights="w3").add(CLS, 70, 72).add(MEAN, 80)
    with pytest.raises(
        InputError, match=r"3 and .*0 have not the same runs: finetune rte last/mean/none 1 5e-05 is in"
    ):
        write_pretrainings([*folders, tmp_path / "3"], tmp_path / "all", show=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder_weights": "w0"}, "2 has the encoder of .*1: that is no other pretraining"),
        ({"encoder_weights": "w1", "finetune": {"epochs": 4}}, "2 holds another run: finetune.epochs was 4 and is 3"),
    ],
)
def test_folders_that_differ_in_more_than_the_pretraining_are_refused(tmp_path, settings, message):
    folders = []
    for name, changes in (("1", {"encoder_weights": "w0"}), ("2", settings)):
        Runs(tmp_path / name, **changes).add(CLS, 70).add(MEAN, 80)
        folders.append(tmp_path / name)
    with pytest.raises(InputError, match=message):
        write_pretrainings(folders, tmp_path / "all", show=False)
    assert not (tmp_path / "all").exists()
