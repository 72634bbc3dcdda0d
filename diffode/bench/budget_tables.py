"""An error budget as tables: Markdown to read and paste, HTML for a page."""

from __future__ import annotations

import html as web
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diffode.bench.budget_stages import STAGES
from diffode.bench.estimates import Estimate
from diffode.bench.tables import figure, grid

if TYPE_CHECKING:
    from diffode.bench.budget import ErrorBudget
    from diffode.bench.budget_parts import Part

FIRST = "(i) Paired end points: RMS distance from stage to stage"
SECOND = "(ii) Sliced W2 to held-out data, signed: parts may cancel"
_OTHER = "the same way by another order"
_ROUNDING = 1e-9


def distances(budget: ErrorBudget) -> tuple[list[str], list[list[str]]]:
    """Table (i): its head and its lines."""
    head = ["part", "RMS distance", "median", f"ends by another {budget.about['place']}"]
    lines = [_distance(part) for part in (*budget.parts, budget.whole)]
    if budget.aside:
        lines += [[f"*{_OTHER}*", "", "", ""], *(_distance(part) for part in budget.aside)]
    return head, lines


def changes(budget: ErrorBudget) -> tuple[list[str], list[list[str]]]:
    """Table (ii): its head and its lines."""
    head = ["", "sliced W2", "change", "95 % interval"]
    lines = [["draws of the data's law", _both(budget.floor), "", ""]]
    for k, (stage, level) in enumerate(zip(STAGES, budget.levels, strict=True)):
        if k:
            lines.append(_change(budget.parts[k - 1]))
        lines.append([f"{k}: {stage}", _both(level), "", ""])
    lines.append(_change(budget.whole))
    if budget.aside:
        lines += [[f"*{_OTHER}*", "", "", ""], *(_change(part) for part in budget.aside)]
    return head, lines


def notes(budget: ErrorBudget) -> list[str]:
    """What to know beside the tables, a sentence each."""
    about = budget.about
    errors = ", ".join(f"{name} {_small(e)}" for name, e in budget.errors.items())
    parts = " + ".join(f"{p.rms.value:.3g}" for p in budget.parts)
    said = [
        f"{about['field']} on {about['data']}, {about['solver']} on grid {about['grid']}, "
        f"{about['nfe']} evaluations, {about['n']} pairs, seed {about['seed']}; exact field: "
        f"{about['exact']}.",
        f"Converged: {about['converged']}; RMS errors: {errors}.",
        f"The largest part is the {budget.largest.name}. Triangle inequality: "
        f"{budget.whole.rms.value:.3g} <= {parts}.",
    ]
    if budget.helpful:
        names = " and ".join(f'"{part.name}"' for part in budget.helpful)
        said.append(f"Nearer to the data, beyond the interval, by {names}: errors cancel.")
    return said


def markdown(budget: ErrorBudget) -> str:
    """Both tables and their notes."""
    first, second = grid(*distances(budget)), grid(*changes(budget))
    lines = [" ".join(notes(budget)), FIRST, first, SECOND, second]
    return "\n\n".join(lines) + "\n"


def html(budget: ErrorBudget) -> str:
    """The chart, both tables and their notes; styled by the page that it goes to."""
    from diffode.bench.budget_chart import chart

    said = "".join(f"<p>{web.escape(line)}</p>" for line in notes(budget))
    tables = "".join(
        f'<h4>{web.escape(title)}</h4><div class="wide">{_table(*table)}</div>'
        for title, table in ((FIRST, distances(budget)), (SECOND, changes(budget)))
    )
    return f'<div class="chart">{chart(budget)}</div>{tables}<div class="note">{said}</div>'


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th{_text(k)}>{web.escape(v)}</th>" for k, v in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{_text(k)}>{_cell(v)}</td>" for k, v in enumerate(line)) + "</tr>"
        for line in lines
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _text(column: int) -> str:
    return "" if column else ' class="text"'


def _cell(value: str) -> str:
    bare = web.escape(value.strip("*"))
    return f"<i>{bare}</i>" if value.startswith("*") else bare


def _distance(part: Part) -> list[str]:
    return [part.name, _both(part.rms), _small(part.median), f"{part.moved:.1%}"]


def _change(part: Part) -> list[str]:
    low, high = (_signed(v, part.change.stderr) for v in part.interval)
    return [part.name, "", _signed(part.change.value, part.change.stderr), f"{low} to {high}"]


def _small(value: float) -> str:
    return f"{value:.2g}" if value > _ROUNDING else "0"


def _both(e: Estimate) -> str:
    if not e.stderr > 0:
        return f"{e.value:.3g}"
    return f"{figure(e.value, e.stderr)} ± {figure(e.stderr, e.stderr)}"


def _signed(value: float, error: float) -> str:
    text = figure(value, error)
    return text if text.startswith("-") else f"+{text}"
