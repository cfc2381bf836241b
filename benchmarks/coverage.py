"""Simulate the coverage of 95% intervals: runs of two readouts that are equally good.

Obuchowski and Rockette's method beside the multi-bootstrap and the paired t test, for every metric, several numbers of
seeds, and seeds, examples, both, or collapsed runs as what makes scores vary. Prints a Markdown table for
`docs/statistics.md` and writes JSON.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy import stats

from benchmarks.turns import describe_machine, markdown, note
from bert_jax.analysis.bootstrap import paired_bootstrap
from bert_jax.analysis.crossed import measure
from bert_jax.errors import InputError
from experiments.cli import run

Metric = Literal["accuracy", "f1", "mcc", "pearson", "spearman"]
Matter = Literal["seeds", "both", "examples", "collapsed"]


class Spread(NamedTuple):
    """Standard deviations of the latent effects, and the share of runs that learn nothing."""

    seed: float
    """Effect of a seed, drawn for each readout."""
    example: float
    """Effect of an example, drawn for each readout."""
    collapsed: float = 0.0
    """Share of runs that learn nothing."""


SPREADS: dict[str, Spread] = {
    "seeds": Spread(0.35, 0.3),
    "both": Spread(0.15, 0.5),
    "examples": Spread(0.03, 0.8),
    "collapsed": Spread(0.15, 0.5, 0.2),
}
POSITIVE = 0.65
"""Share of class 1, the majority."""
METHODS = {
    "crossed": "Obuchowski-Rockette",
    "bootstrap": "multi-bootstrap",
    "t": "t over seeds",
    "single": "one readout",
}
"""Kind of interval -> its title in the table: of differences by three methods, and of a single readout's mean by the
first."""


@dataclass(frozen=True)
class Coverage:
    """Share of 95% intervals that hold the true difference, 0; the rest is the error of type I."""

    metrics: tuple[Metric, ...] = get_args(Metric)
    matter: tuple[Matter, ...] = get_args(Matter)
    """Sources of variation of the scores."""
    seeds: tuple[int, ...] = (2, 3, 5, 10, 20)
    """Numbers of seeds."""
    examples: int = 400
    """Evaluation examples."""
    simulations: int = 1000
    """Simulations of each row of the table."""
    bootstraps: int = 150
    """Number of simulations that are also bootstrapped, with `resamples` resamples."""
    resamples: int = 400
    out: Path | None = None
    """File to write the figures to, as JSON."""

    def __post_init__(self) -> None:
        if min(self.seeds, default=0) < 2:
            raise InputError("--seeds: with one seed there is nothing to compare; give 2 or more")
        if not 0 < self.bootstraps <= self.simulations:
            raise InputError(f"--bootstraps {self.bootstraps}: it must be from 1 to the number of simulations")


def main(config: Coverage) -> None:
    """Simulate row by row, then print the table."""
    machine = describe_machine("coverage", ("numpy", "scipy"))
    rows: list[dict[str, Any]] = []
    for metric in config.metrics:
        for matter in config.matter:
            for seeds in config.seeds:
                rows.append({"metric": metric, "matter": matter, "seeds": seeds} | cover(config, metric, matter, seeds))
                note(" ".join(str(value) for value in rows[-1].values()))
    seconds = round(time.process_time())
    print(tabulate(rows))
    content = {"machine": machine, "cpu_seconds": seconds, "settings": _settings(config), "rows": rows}
    if config.out is not None:
        config.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def tabulate(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table with a line for each metric and each thing that matters, numbers of seeds in its cells."""
    seeds = list(dict.fromkeys(row["seeds"] for row in rows))
    title = " / ".join(map(str, seeds))
    lines = {}
    for metric, matter in dict.fromkeys((row["metric"], row["matter"]) for row in rows):
        alike = [row for row in rows if (row["metric"], row["matter"]) == (metric, matter)]
        lines[metric, matter] = [" / ".join(f"{row[name]:.0f}" for row in alike) for name in METHODS]
    head = ["metric", "what matters", *(f"{name}: {title}" for name in METHODS.values())]
    return markdown(head, [[*key, *cells] for key, cells in lines.items()])


def cover(config: Coverage, metric: str, matter: str, seeds: int) -> dict[str, float]:
    """Shares of intervals that hold the truth, in percent, and the mean widths of two of them, in points."""
    rng = np.random.default_rng([seeds, *matter.encode(), *metric.encode()])
    found: dict[str, list[tuple[float, float]]] = {"crossed": [], "bootstrap": [], "t": [], "single": []}
    means = []
    for number in range(config.simulations):
        a, b, labels = simulate(rng, metric, SPREADS[matter], seeds, config.examples)
        measured = measure(metric, np.stack([a, b]), labels)
        found["crossed"].append(measured.difference(0, 1).test()[1:3])
        found["t"].append(t_interval(measured.scores[1] - measured.scores[0]))
        found["single"].append(measured.side(0).test()[1:3])
        means += list(measured.scores.mean(1))
        if number < config.bootstraps:
            drawn = paired_bootstrap(metric, a, b, labels, resamples=config.resamples, seed=number)
            found["bootstrap"].append((drawn.low, drawn.high))
    truths = {"single": float(np.mean(means))}
    shares = {name: 100 * _share(np.array(bounds), truths.get(name, 0.0)) for name, bounds in found.items()}
    widths = {f"{name}_width": 100 * float(np.median(np.ptp(found[name], 1))) for name in ("crossed", "bootstrap")}
    return {name: shares[name] for name in ("crossed", "bootstrap", "t", "single")} | widths


def simulate(
    rng: np.random.Generator, metric: str, spread: Spread, seeds: int, examples: int, effect: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions [S N] of two readouts and labels [N]; b is better by `effect` on the latent scale.

    A class is said rightly where difficulty + readout x example + seed + effect + noise is above 0. A score is the
    label plus such effects of an example and noise, all the larger the worse the seed is.
    """
    of_seed = rng.normal(0, 0.2, (1, seeds, 1)) + rng.normal(0, spread.seed, (2, seeds, 1))
    of_seed[1] += effect
    of_example = rng.normal(0, spread.example, (2, 1, examples))
    collapsed = rng.random((2, seeds, 1)) < spread.collapsed
    if metric in ("pearson", "spearman"):
        labels = rng.integers(0, 11, examples) / 2
        noise = 1.5 * of_example + rng.normal(0, 1, (1, 1, examples)) + 0.6 * rng.normal(size=(2, seeds, examples))
        said = labels + 1.5 * np.exp(-of_seed) * noise
        nothing = rng.normal(size=said.shape)
        return *np.where(collapsed, nothing, said), labels
    labels = (rng.random(examples) < POSITIVE).astype(int)
    right = rng.normal(0.8, 1.5, examples) + of_example + of_seed + 0.6 * rng.logistic(0, 1, (2, seeds, examples)) > 0
    return *np.where(collapsed, 1, np.where(right, labels, 1 - labels)), labels


def t_interval(differences: np.ndarray) -> tuple[float, float]:
    """Student's interval of the mean of differences [S], examples taken as given."""
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    return differences.mean() - half, differences.mean() + half


def _share(bounds: np.ndarray, truth: float) -> float:
    return float(np.mean((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])))


def _settings(config: Coverage) -> dict[str, Any]:
    names = ("examples", "simulations", "bootstraps", "resamples")
    return {name: getattr(config, name) for name in names}


if __name__ == "__main__":
    run(main, Coverage)
