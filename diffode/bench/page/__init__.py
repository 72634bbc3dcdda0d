"""The comparison as one self-contained page: tables, charts, grids, settings; no network."""

from __future__ import annotations

import html
import math
from importlib.resources import files
from string import Template
from typing import Any

from diffode.analysis.budget import budget_tables
from diffode.bench.budget_chart import chart
from diffode.bench.results import Results
from diffode.bench.rows import Row, rows
from diffode.bench.tables import Section, sections
from diffode.config_file import dump
from diffode.markup import script_json
from diffode.viz import data_uri

_INTERVALS = (
    "Intervals are of 95 %: Student's over seeds, or 1.96 standard errors of the metric itself "
    "where these are wider, as they are for one seed and for real data. All share one reference: "
    "differences between fields are surer than their intervals."
)


def page(results: Results, title: str = "A comparison") -> str:
    """The page of a comparison.

    Arguments:
        results: what it shows.
        title: at its top.
    """
    configs = (f"# {name}\n{dump(c)}" for name, c in results.named_configs.items())
    return _template("page.html").substitute(
        title=html.escape(title),
        style=_read("page.css"),
        intervals=_INTERVALS,
        sections="\n".join(_section(results, section) for section in sections(results)),
        command=html.escape(results.command),
        config=html.escape("\n".join(configs)),
        machines=html.escape("\n".join(_machines(results))),
        json=script_json(_content(results)),
        script=_read("page.js"),
    )


def _content(results: Results) -> dict[str, Any]:
    """What the page's charts and grids are drawn from."""
    table, known = rows(results), results.references.items()
    shown = dict.fromkeys([*(r.picture for r in table), *(r["picture"] for _, r in known)])
    return {
        "rows": [_json_row(row) for row in table if not row.refused],
        "metrics": {d: [m["name"] for m in metrics] for d, metrics in results.metrics.items()},
        "floors": {d: {k: v[0] for k, v in r["floor"].items()} for d, r in known},
        "headline": {d: r["headline"] for d, r in known},
        "real": {d: r["picture"] for d, r in known},
        "pictures": {name: uri for name in shown if name and (uri := _uri(results, name))},
    }


def _machines(results: Results) -> list[str]:
    known = {
        (c["device"], c["threads"], tuple(c["versions"].items()))
        for c in results.cells
        if "device" in c
    }
    return [
        f"{device}, {threads} threads, " + ", ".join(f"{k} {v}" for k, v in versions)
        for device, threads, versions in sorted(known)
    ]


def _section(results: Results, section: Section) -> str:
    return _template("section.html").substitute(
        data=html.escape(section.data),
        about=html.escape(section.about),
        metric=html.escape(section.metric),
        table=section.by_cost.html(),
        unit=section.unit,
        columns=f"Columns are {section.unit}; bold are each field's best solver there and all "
        "within its interval.",
        floor=section.floor,
        notes=html.escape("".join(f" {note}." for note in section.notes)),
        paths=_paths(results, section.data),
        most=section.most,
        everything=section.everything.html(),
        meanings="".join(
            f"<li><b>{html.escape(m['name'])}</b>: {html.escape(m['about'])}</li>"
            for m in results.metrics[section.data]
        ),
        trainings=section.trainings.html(),
        budgets=_budgets(section),
    )


def _budgets(section: Section) -> str:
    why = html.escape(section.unbudgeted)
    note = f'<p class="note">No error budget: {why}.</p>' if why else ""
    if not section.budgets:
        return note
    moved, scores = budget_tables(section.budgets)
    bounds = section.bounds
    shown = _template("budgets.html").substitute(
        chart=chart(section.budgets),
        moved=moved.html(),
        scores=scores.html(),
        accuracy=f"{max(b.accuracy for b in section.budgets):.1g}",
        bounds=_template("bounds.html").substitute(table=bounds.html()) if bounds else "",
    )
    return shown + note


def _paths(results: Results, data: str) -> str:
    shown = [
        (m["plan"]["field"], m["straightness"], uri)
        for m in results.models.values()
        if m["plan"]["data"] == data and m.get("paths") and (uri := _uri(results, m["paths"]))
    ]
    figures = "".join(
        f'<figure><img src="{uri}" alt="paths of {html.escape(field)}"><figcaption>'
        f"{html.escape(field)}{f', straightness {straight[0]:.3f}' if straight else ''}"
        "</figcaption></figure>"
        for field, straight, uri in shown
    )
    note = (
        '<p class="note">States are shown over sqrt(alpha² + sigma²/s²), s the spread of the '
        "data, so that all stay in view; straightness (chord over length) is of x itself.</p>"
    )
    return f'<h3>Paths</h3><div class="paths">{figures}</div>{note}' if figures else ""


def _json_row(row: Row) -> dict[str, Any]:
    values = {
        k: [m.value, m.half if math.isfinite(m.half) else 0.0]
        for k, m in row.metrics.items()
        if math.isfinite(m.value)
    }
    return {**vars(row), "metrics": values}


def _uri(results: Results, name: str) -> str | None:
    picture = results.picture(name)
    return None if picture is None else data_uri(picture)


def _read(name: str) -> str:
    return (files("diffode.bench.page") / name).read_text(encoding="utf-8")


def _template(name: str) -> Template:
    return Template(_read(name))
