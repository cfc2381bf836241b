"""The files of a GLUE submission keep the site's rules."""

import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.tasks import glue
from bert_jax.tasks.submission import FILES, check, files_of, fill, spell


def refused(**changes):
    with pytest.raises(InputError) as caught:
        check({name: fill(file) for name, file in FILES.items()} | changes)
    return str(caught.value)


def test_there_are_eleven_files_of_the_nine_tasks_and_ax():
    names = "AX CoLA MNLI-m MNLI-mm MRPC QNLI QQP RTE SST-2 STS-B WNLI"
    assert " ".join(FILES) == names
    assert [file.name for file in files_of("mnli")] == ["AX", "MNLI-m", "MNLI-mm"]
    assert {file.trained_on for file in FILES.values()} == glue.TASKS.keys() - {"ax"}
    assert files_of("ax") == files_of("mr") == []


def test_labels_are_those_of_the_site_in_the_order_of_the_task():
    for file in FILES.values():
        classes = glue.TASKS[file.task].classes
        assert len(file.labels) == len(classes)
        if file.labels != ("0", "1"):
            assert file.labels == classes
    assert spell(FILES["MNLI-mm"], np.array([2, 0, 1])) == ["contradiction", "entailment", "neutral"]
    assert spell(FILES["WNLI"], np.array([1, 0])) == ["1", "0"]
    assert glue.TASKS["wnli"].classes[1] == "entailment"


def test_scores_are_clipped_to_their_range():
    assert spell(FILES["STS-B"], np.array([-0.2, 2.34567, 5.3])) == ["0.000", "2.346", "5.000"]


def test_a_filled_submission_keeps_the_rules():
    check({name: fill(file) for name, file in FILES.items()})


def test_breaches_are_refused_by_file_and_row():
    assert "CoLA.tsv: 1,062 predictions for the 1,063 rows" in refused(CoLA=["1"] * 1062)
    assert "RTE.tsv, row 2: prediction '1'; the site takes entailment, not_entailment" in refused(
        RTE=["entailment", "not_entailment"] + ["1"] * 2998
    )
    for bad in ("5.1", "nan", "entailment"):
        assert f"STS-B.tsv, row 0: prediction {bad!r}" in refused(**{"STS-B": [bad] * 1379})
    assert "unknown: ['SNLI']" in refused(SNLI=["entailment"])
    with pytest.raises(InputError, match=r"missing: .*'WNLI'"):
        check({name: fill(file) for name, file in FILES.items() if name != "WNLI"})
