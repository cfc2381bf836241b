"""The tables that `experiments.reproduce` makes, each with the data that it needs and about how long it takes."""

from rich.console import Console

from experiments.scales import HARDWARE, SCALES, defaults, hours
from experiments.tables import tables
from experiments.tables.table import Table

CLAIMS = "what-is-in-cls"
"""Name of `experiments.what_is_in_cls` in the list of tables."""


def print_list() -> None:
    """Every table, with what it needs and about how long its pretrainings take."""
    console = Console(width=max(100, Console().width))
    for table in tables().values():
        console.print(f"[bold]{table.name}[/bold]  {table.title}", highlight=False)
        console.print(f"    source: {table.source}", highlight=False, markup=False)
        for scale in SCALES:
            console.print(f"    {scale}: {describe_needs(table, scale)}", highlight=False, markup=False)
    console.print(
        f"[bold]{CLAIMS}[/bold]  Five claims about \\[CLS], each with a measurement and a figure", highlight=False
    )
    console.print("    source: ours; see docs/what-is-in-cls.md", highlight=False, markup=False)
    console.print("    tiny: nothing; the synthetic language's encoders are pretrained", highlight=False, markup=False)
    console.print("    mini, base: --encoders NAME=DIR ..., GLUE, SentEval (--senteval-dir), --corpus", highlight=False)
    console.print(
        "Times are lower bounds for pretraining alone: an H100 at 50% of its peak, 8 A100 at 37%, 2 CPU cores at 60 "
        "GFLOP/s. Models smaller than base use an accelerator less well."
    )


def describe_needs(table: Table, scale: str) -> str:
    """The data that a table needs, and its hours by hardware."""
    config = defaults(table, scale)
    operations = hours(table, config)
    needs = []
    if scale != "tiny":
        kinds = {column.source() for column in table.columns if not column.absent}
        flags = {
            "glue": "GLUE (--glue-dir, or through TFDS)",
            "senteval": "SentEval (--senteval-dir)",
            "sts": "similarity sets (--sts-dir)",
            "siamese": "STS benchmark (--sts-dir)",
        }
        needs += [text for kind, text in flags.items() if kind in kinds]
        whitens = any(line.changes.get("sts.whitening") == "train" for line in table.lines)
        needs += ["--nli"] * (whitens or any(column.task == "nli" for column in table.columns))
        needs += ["--sentences"] * any(column.task == "simcse" for column in table.columns)
        needs += ["--corpus"] if operations else []
        hub = [encoder.published for encoder in table.encoders if encoder.published and scale == "base"]
        needs += [f"{', '.join(hub)} from the hub, or --encoder"] if hub else []
    named = [encoder.name for encoder in table.encoders if encoder.pretrain is None and scale != "base"]
    needs += [f"for its rows, --encoder NAME=DIR_OR_HUB_ID with NAME one of {', '.join(named)}"] if named else []
    times = [f"{_time(operations / speed)} on {name}" for name, speed in HARDWARE.items()] if operations else []
    return "; ".join([", ".join(needs) or "nothing", f"pretraining {', '.join(times)}" if times else "no pretraining"])


def _time(hours: float) -> str:
    """Format a time in hours, rounded, as minutes, hours or days.

    >>> _time(0.05), _time(3.2), _time(200)
    ('3 min', '3.2 h', '8.3 days')
    """
    if hours < 1:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:,.1f} days"
