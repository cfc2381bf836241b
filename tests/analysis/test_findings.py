"""Findings are the significant differences, in a line for each task, with the reason of the readout that is ahead."""

from types import SimpleNamespace

import pandas as pd

from bert_jax.analysis.findings import describe_findings
from bert_jax.tasks.suites import SUITES

CLS, MEAN, MAX = (f"last/{pooling}/none" for pooling in ("cls", "mean", "max"))


def compare(*lines, suite="synthetic"):
    """Findings of lines of regime, task, readout, difference to [CLS] and corrected p."""
    columns = ["regime", "task", "readout", "difference", "p_adjusted"]
    frame = pd.DataFrame(lines, columns=columns).assign(reference=CLS)
    frame["label"] = frame["task"].str.upper()
    rows = [
        SimpleNamespace(name=name, task=line[1], config={"suite": suite}) for line in lines for name in (CLS, line[2])
    ]
    return describe_findings(rows, frame)


def reason(task, pooling):
    return f"Expected reason: {dict(SUITES['synthetic'][task].favours)[pooling]}"


def test_a_line_for_each_task_has_its_significant_differences_and_one_reason():
    found = compare(
        ("finetune", "keyword", MEAN, 12.34, 0.001),
        ("finetune", "keyword", MAX, 10.0, 0.01),
        ("finetune", "sentiment", MEAN, 9.0, 0.2),
    )
    assert reason("keyword", "mean") == reason("keyword", "max")
    assert found == [f"Found on KEYWORD: mean +12.3 against cls, max +10.0 against cls. {reason('keyword', 'max')}"]


def test_the_reason_is_that_of_the_readout_ahead():
    (behind,) = compare(("finetune", "entailment", MEAN, -6.0, 0.01))
    assert behind == f"Found on ENTAILMENT: mean -6.0 against cls. {reason('entailment', 'cls')}"
    (unexplained,) = compare(("finetune", "keyword", MEAN, -6.0, 0.01))
    assert unexplained == "Found on KEYWORD: mean -6.0 against cls."


def test_without_a_significant_difference_one_line_says_so():
    nothing = ["Found: no difference with a corrected p below 0.05."]
    assert compare(("finetune", "keyword", MEAN, 9.0, 0.05), ("finetune", "keyword", MAX, 9.0, float("nan"))) == nothing


def test_nothing_is_said_without_a_comparison_and_no_reason_is_made_up():
    assert describe_findings([], pd.DataFrame()) == []
    assert compare(("finetune", "cola", MAX, 3.0, 0.01), suite="glue") == ["Found on COLA: max +3.0 against cls."]


def test_several_regimes_have_lines_of_their_own():
    found = compare(("finetune", "cola", MAX, 3.0, 0.01), ("probe", "cola", MAX, 4.0, 0.01), suite="glue")
    assert [line.partition(":")[0] for line in found] == ["Found on COLA, fine-tuned", "Found on COLA, linear probe"]
