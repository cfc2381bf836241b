"""Render the page of one or several run folders from its template.

The page's only script is named by its hash in a content security policy, so that nothing in texts, names or settings
can run, whatever they hold.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jinja2
from markupsafe import Markup

from bert_jax.analysis.estimates import METHODS
from bert_jax.analysis.page.compact import pack
from bert_jax.analysis.page.curve_plots import HEIGHT, WIDTH, make_curves
from bert_jax.analysis.page.examined import Examined
from bert_jax.analysis.page.sets import MOST, collect, payload
from bert_jax.analysis.page.slice_table import SLICED, make_slices
from bert_jax.analysis.page.slices import LEAST
from bert_jax.analysis.page.tables import WORDS, Cell, Table, make_heat_maps, make_scores
from bert_jax.files import Json
from bert_jax.study.plan import read_commands
from bert_jax.version import __version__

PAGE = "report.html"
"""Name of the page in a run folder."""
TEMPLATES = Path(__file__).parent / "templates"


def render(examined: Sequence[Examined], title: str = "") -> str:
    """The page of some run folders as HTML.

    Args:
        examined: the run folders.
        title: heading of the page; by default the name of the folder, or the encoders.
    """
    script, style = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    examined = _distinct(examined)
    sets = collect(examined)
    slices = make_slices(examined)
    name = ", ".join(found.encoder for found in examined)
    name = name if len(examined) > 1 else examined[0].folder.resolve().name
    return environment.get_template("page.html").render(
        title=title or name,
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'",
        script=Markup(script),
        style=Markup(style),
        scores=make_scores(examined),
        heat_maps=make_heat_maps(examined),
        curves=make_curves(examined),
        plot=(WIDTH, HEIGHT),
        slices=slices,
        compared=sum(bool(cell.text) for cell in _column(slices, "Difference")),
        sets=[(of.title, len(of.sides), of.examples is not None, pack(payload(of))) for of in sets],
        lacking=[of.title for of in sets if of.examples is None],
        folders=[_made(found) for found in examined],
        words=WORDS,
        least=LEAST,
        sliced=SLICED,
        most=MOST,
        method=next(iter(METHODS.values())),
        version=__version__,
    )


def _distinct(examined: Sequence[Examined]) -> list[Examined]:
    """The folders with names that differ: where one encoder has several, each is called by its name or its path."""
    encoders = [found.encoder for found in examined]
    readouts = tuple(dict.fromkeys(row.name for found in examined for row in found.rows))
    several = [found for found in examined if encoders.count(found.encoder) > 1]
    names = {found.folder.resolve().name for found in several}
    by_name = len({*encoders, *names}) == len(set(encoders)) + len(several)
    called = [found.folder.resolve().name if by_name else str(found.folder) for found in examined]
    return [
        replace(found, name=own if found in several else found.encoder, beside=readouts)
        for found, own in zip(examined, called, strict=True)
    ]


def _column(table: Table, name: str) -> list[Cell]:
    return [line[table.columns.index(name)] for line in table.lines] if name in table.columns else []


def _made(found: Examined) -> Json:
    """The commands, settings and notes of a folder, for the last part of the page."""
    return {
        "name": found.encoder,
        "folder": found.folder.resolve().name,
        "protocol": found.protocol,
        "notes": found.notes,
        "commands": read_commands(found.folder),
        "settings": json.dumps(found.experiment, indent=2, ensure_ascii=False),
    }
