"""The comparison as one self-contained page: tables, charts, grids, settings; no network."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from importlib.resources import files
from string import Template
from typing import Any

from diffode.analysis.budget import lines
from diffode.bench import tables
from diffode.bench.budget_chart import chart
from diffode.bench.config_file import dump
from diffode.bench.results import Results
from diffode.bench.tables import Mean, Row
from diffode.markup import script_json
from diffode.viz import data_uri

_NUMERIC = "0123456789+-."  # how the cells of a column of numbers begin
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
    table = tables.rows(results)
    shown = {r.picture for r in table} | {r["picture"] for r in results.references.values()}
    pictures = {name: uri for name in shown if name and (uri := _uri(results, name))}
    content = {
        "rows": [_json_row(row) for row in table if not row.refused],
        "metrics": {d: [m["name"] for m in known] for d, known in results.metrics.items()},
        "floors": {d: {k: v[0] for k, v in r["floor"].items()} for d, r in _items(results)},
        "headline": {d: r["headline"] for d, r in _items(results)},
        "real": {d: r["picture"] for d, r in _items(results)},
        "pictures": pictures,
    }
    machines = {
        (c["device"], c["threads"], tuple(c["versions"].items()))
        for c in results.cells
        if "device" in c
    }
    return _template("page.html").substitute(
        title=html.escape(title),
        style=_read("page.css"),
        intervals=_INTERVALS,
        sections="\n".join(_section(results, table, data) for data in results.references),
        command=html.escape(results.command),
        config=html.escape(
            "\n".join(f"# {n}\n{dump(c)}" for n, c in results.named_configs.items())
        ),
        machines=html.escape(
            "\n".join(
                f"{device}, {threads} threads, " + ", ".join(f"{k} {v}" for k, v in versions)
                for device, threads, versions in sorted(machines)
            )
        ),
        json=script_json(content),
        script=_read("page.js"),
    )


def _items(results: Results) -> list[tuple[str, dict[str, Any]]]:
    return list(results.references.items())


def _section(results: Results, table: Sequence[Row], data: str) -> str:
    reference = results.references[data]
    metric = reference["headline"]
    columns = tables.allowances(table, data) or [1]
    floor = reference["floor"].get(metric, [math.nan, math.nan])
    return _template("section.html").substitute(
        data=html.escape(data),
        about=html.escape(_about(reference["about"])),
        metric=html.escape(metric),
        table=_by_evaluations(results, table, data, metric, columns),
        columns="Columns are evaluations; bold are each field's best solver there and all within "
        "its interval.",
        floor=Mean.of([floor[0]], [floor[1]]),
        notes=html.escape("".join(f" {note}." for note in tables.notes(table, data))),
        paths=_paths(results, data),
        most=columns[-1],
        everything=_table(*tables.everything(results, table, data, columns[-1])),
        meanings="".join(
            f"<li><b>{html.escape(m['name'])}</b>: {html.escape(m['about'])}</li>"
            for m in results.metrics[data]
        ),
        trainings=_table(*tables.trainings(results, data)),
        budgets=_budgets(results, data),
    )


def _budgets(results: Results, data: str) -> str:
    made, refused = tables.budgets(results, data)
    note = f'<p class="note">No error budget: {html.escape(refused)}.</p>' if refused else ""
    if not made:
        return note
    (moved_head, moved), (score_head, scores) = lines(made)
    bounds = [
        [b["name"], *(f"{v:.3g}" for v in (k["measured"], k["value"], k["value"] / k["measured"])),
         f"{k['exponent']:.2f}"]
        for b in results.budgets[data]
        if (k := b.get("bound"))
    ]  # fmt: skip
    head = ["field", "measured", "bound", "looser by", "exponent"]
    bound = _template("bounds.html").substitute(table=_table(head, bounds)) if bounds else ""
    shown = _template("budgets.html").substitute(
        chart=chart(made),
        moved=_table(moved_head, moved),
        scores=_table(score_head, scores),
        accuracy=f"{max(b.accuracy for b in made):.1g}",
        bounds=bound,
    )
    return shown + note


def _about(about: dict[str, Any]) -> str:
    plain = [f"{k.replace('_', ' ')}: {v}" for k, v in about.items() if isinstance(v, (str, int))]
    return "; ".join(plain)


def _by_evaluations(
    results: Results, table: Sequence[Row], data: str, metric: str, columns: Sequence[int]
) -> str:
    better = {m["name"]: m["better"] for m in results.metrics[data]}[metric]
    pick = max if better == "high" else min
    lines = []
    for field in dict.fromkeys(r.field for r in table if r.data == data):
        solvers = list(
            dict.fromkeys(r.solver for r in table if (r.data, r.field) == (data, field))
        )
        found = [[tables.at(table, data, field, s, nfe) for nfe in columns] for s in solvers]
        best = [
            pick(
                (r.metrics[metric] for r in column if r and metric in r.metrics),
                key=lambda m: m.value,
                default=None,
            )
            for column in zip(*found, strict=True)
        ]
        for k, (solver, line) in enumerate(zip(solvers, found, strict=True)):
            cells = [
                f'<td class="text">{html.escape(v)}</td>' for v in (field if not k else "", solver)
            ]
            for row, top in zip(line, best, strict=True):
                value = row.metrics.get(metric) if row else None
                alike = value and top and abs(value.value - top.value) <= max(top.half, 0.0)
                mark = ' class="best"' if alike and len(solvers) > 1 else ""
                cells.append(f"<td{mark}>{'' if value is None else value}</td>")
            lines.append(f"<tr{' class=first' if not k else ''}>{''.join(cells)}</tr>")
    head = ["field", "solver", *map(str, columns)]
    return _framed(head, [True, True, *[False] * len(columns)], "".join(lines))


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


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    words = [
        all(not v or v[0] not in _NUMERIC for v in column) for column in zip(*lines, strict=True)
    ]
    body = "".join(
        "<tr>" + "".join(_cell("td", v, w) for v, w in zip(line, words, strict=True)) + "</tr>"
        for line in lines
    )
    return _framed(head, words, body)


def _framed(head: Sequence[str], words: Sequence[bool], body: str) -> str:
    cells = (_cell("th", n, w) for n, w in zip(head, words, strict=True))
    return f"<table><thead><tr>{''.join(cells)}</tr></thead><tbody>{body}</tbody></table>"


def _cell(tag: str, text: str, words: bool) -> str:
    kind = ' class="text"' if words else ""
    return f"<{tag}{kind}>{html.escape(text).strip('*')}</{tag}>"


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
