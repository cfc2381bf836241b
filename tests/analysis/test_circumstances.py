"""What decided a table's numbers is said: training rows, the seeds of each cell, and missing runs."""

from dataclasses import replace

from bert_jax.analysis.circumstances import describe_missing, describe_seeds, describe_training
from bert_jax.study.store import Row


def a_row(seed):
    names = {"id": f"{seed}", "task": "cola", "title": "CoLA", "metric": "mcc", "readout": "last/cls/none"}
    sizes = {"train_examples": 10, "evaluation_examples": {"validation": 3}, "seconds": 1.0}
    found = {"is_regression": False, "status": "ok", "failed_step": None, "metrics": {}, "majority": {}, "config": {}}
    return Row(**names, **sizes, **found, learning_rate=None, seed=seed)


def test_training_rows_are_said_for_each_task_and_where_they_were_limited():
    rows = [replace(a_row(seed), train_examples=8551) for seed in range(2)]
    limited = replace(a_row(2), title="MRPC", train_examples=300, config={"train_rows": 300})
    assert describe_training([*rows, limited]) == "trained on CoLA (8,551), MRPC (300 by --train-rows)"
    assert describe_training([replace(rows[0], train_examples=0)]) == ""


def test_seeds_are_those_of_a_cell():
    rows = [a_row(seed) for seed in range(3)]
    assert describe_seeds(rows) == "3 seeds"
    assert describe_seeds([*rows, replace(rows[0], readout="last/max/none")]) == "1 to 3 seeds"


def test_missing_runs_are_named_by_cell_and_then_counted():
    missing = {("finetune", "CoLA"): [f"last/{p}/none seed {s}" for p in "abcdefgh" for s in (1, 2)]}
    said = describe_missing(missing, 4)
    assert said.startswith("INCOMPLETE: 16 of 20 runs are missing: CoLA last/a/none (fine-tuned) seeds 1, 2; ")
    assert "2 more cells" in said and describe_missing({}, 4) == ""
