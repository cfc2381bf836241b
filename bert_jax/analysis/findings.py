"""The significant differences of a table, a line for each task, with the reasons that the task expects for them."""

import pandas as pd

from bert_jax.analysis.comparison import parts_of, short_names
from bert_jax.analysis.figures import SIGNIFICANT
from bert_jax.study.regimes import regime_title
from bert_jax.study.store import Row
from bert_jax.tasks.suites import SUITES


def describe_findings(rows: list[Row], compared: pd.DataFrame) -> list[str]:
    """A line for each task with differences whose corrected p is below `SIGNIFICANT`, or one that says there are none.

    The line ends with the expected reason if the task names one for the readout that is ahead (`Task.favours`).

    Args:
        rows: the rows of a run folder.
        compared: differences, see `comparison.differences`.
    """
    if compared.empty:
        return []
    names = short_names(list(dict.fromkeys(row.name for row in rows)))
    suites = {row.task: str(row.config.get("suite")) for row in rows}
    several = compared["regime"].nunique() > 1
    significant = compared[compared["p_adjusted"] < SIGNIFICANT]
    notes = []
    for (regime, label), lines in significant.groupby(["regime", "label"], sort=False):
        where = f"{label}, {regime_title(regime).lower()}" if several else label
        gaps = [
            f"{names[one.readout]} {one.difference:+.1f} against {names[one.reference]}" for one in lines.itertuples()
        ]
        ahead = [one.readout if one.difference > 0 else one.reference for one in lines.itertuples()]
        task = str(lines["task"].iloc[0])
        reasons = [f"Expected reason: {reason}" for reason in _reasons(suites[task], task, ahead)]
        notes.append(" ".join([f"Found on {where}: {', '.join(gaps)}.", *reasons]))
    return notes or [f"Found: no difference with a corrected p below {SIGNIFICANT}."]


def _reasons(suite: str, task: str, ahead: list[str]) -> list[str]:
    """The reasons that a task gives for the poolings that are ahead, each once."""
    known = SUITES.get(suite, {}).get(task)
    favours = dict(known.favours) if known else {}
    poolings = [parts[1] for parts in map(parts_of, ahead) if len(parts) > 1]
    return list(dict.fromkeys(favours[pooling] for pooling in poolings if pooling in favours))
