"""The page that a run leaves: what it learned, how well, how to use it. One file, no network."""

from __future__ import annotations

import html
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from string import Template

from torch import Tensor

from diffode import code
from diffode.data.scaling import model_units
from diffode.data.source import Samples
from diffode.files import write_text
from diffode.metrics import nearest
from diffode.runs.assess import Assessment
from diffode.runs.evaluation import Evaluation
from diffode.runs.run import Run
from diffode.runs.ticks import loss_ticks, ticks
from diffode.training.suitability import WARNED, signal
from diffode.viz import data_uri, image_grid
from diffode.viz.images import is_image

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; }
body { padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; }
td, th { padding: .25rem .9rem .25rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; }
td { white-space: nowrap; }
.meaning { opacity: .75; font-size: .85rem; font-weight: 400; white-space: normal; }
tbody tr:first-child { font-weight: 600; }
.classes tbody tr:first-child { font-weight: inherit; }
thead { border-bottom: 1px solid currentColor; }
img { max-width: 100%; height: auto; display: block; margin-bottom: .3rem; }
pre { padding: .8rem 1rem; overflow-x: auto; border: 1px solid #8886; border-radius: .3rem; }
svg { width: 100%; height: auto; }
.note { opacity: .75; font-size: .9rem; margin-top: .3rem; }
"""

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>$style</style></head><body>
<h1>$title</h1><p class="note">$about</p>
<h2>Samples</h2>
<img src="$samples" alt="samples">
<p class="note">$caption $start</p>
$neighbours
<h2>Quality</h2>
<p class="note">The first figure is the one to look at first. Read the samples beside real data,
and beside a Gaussian fit: what "nothing learned" scores.</p>
$table
$classes
<ul class="note">$notes</ul>
<h2>Loss</h2>
$curve
<h2>Use it</h2>
<pre>$code</pre>
<h2>Settings</h2>
<pre>$settings</pre>
</body></html>
""")


def write_report(
    run: Run,
    result: Assessment,
    path: Path,
    steps: Sequence[int],
    losses: Sequence[float],
    more: Sequence[str] = (),
) -> None:
    """Write the report of a run.

    Arguments:
        run: the run.
        result: its samples and their quality.
        path: the .html file.
        steps, losses: the loss over the run, as it was recorded.
        more: what else there is to say of it, a line each.
    """
    x = model_units(result.solution.x.cpu(), run.dataset.scaling)
    plan = run.plan
    settings = {"options": plan.options, "training": plan.training}
    notes = [*more, *result.evaluation.notes()]
    page = _PAGE.substitute(
        style=_STYLE,
        title=html.escape(f"{code.short(plan.field)} on {run.dataset.name}"),
        about=html.escape(repr(run.field)),
        samples=data_uri(result.picture(run.dataset)),
        caption=(
            f"Drawn with {html.escape(result.solver)}, {result.solution.nfe} evaluations of the "
            f"network, seed {plan.seed}. Nothing is selected. "
            f"{result.solution.shortfall('samples')}"
        ),
        start=_start(run),
        neighbours=_neighbours(x, run.dataset.train),
        table=result.evaluation.table().html(),
        classes=_by_class(result.evaluation),
        notes="".join(f"<li>{html.escape(note)}</li>" for note in notes),
        curve=curve(steps, losses),
        code=html.escape(_code(run)),
        settings=html.escape(json.dumps(settings, indent=2)),
    )
    write_text(path, page)


def _start(run: Run) -> str:
    """What the prior does not know of the data."""
    kept = signal(run.field, run.dataset.train)
    if kept is None:
        return ""
    said = (
        f"Where the flow starts, the noise leaves alpha s / sigma = {kept:.2g} of the data, s the "
        "standard deviation of its widest direction"
    )
    if kept < WARNED:
        return f"{said}; proportions are right as long as that is below {WARNED}."
    return f"{said}; from {WARNED} on proportions come out wrong."


def _neighbours(x: Tensor, train: Samples) -> str:
    if not is_image(tuple(x.shape[1:])):
        return ""
    distance, index = nearest(x[:12], train)
    drawn, real = (data_uri(image_grid(v, columns=12)) for v in (x[:12], train[index]))
    values = ", ".join(f"{d:.2f}" for d in distance.tolist())
    return (
        "<h2>Nearest training samples</h2>"
        f'<img src="{drawn}" alt="samples"><img src="{real}" alt="nearest training samples">'
        '<p class="note">Above, samples; below, the training sample nearest to each, at distances '
        f"{values}.</p>"
    )


def _by_class(result: Evaluation) -> str:
    if not result.by_class:
        return ""
    return f'<h2>By class</h2><div class="classes">{result.class_table().html()}</div>'


def _code(run: Run) -> str:
    folder = "RUN" if run.out is None else run.out.as_posix()
    return (
        f"diffode sample {shlex.quote(folder)} --samples 64 --out more.png\n\n"
        "import diffode\n"
        f"field = diffode.load({json.dumps(folder)}).field\n"
        "print(field)\n"
        "x = diffode.sample(field, 64, nfe=35, seed=1).x"
    )


def curve(steps: Sequence[int], losses: Sequence[float], bins: int = 150) -> str:
    """The loss as an inline SVG: means over stretches, on a logarithmic axis if it spans one."""
    if not losses:
        return "<p>No losses were recorded.</p>"
    if len(losses) == 1:
        return f"<p>One loss was recorded, at step {steps[0]}: {losses[0]:.3g}.</p>"
    size = max(1, math.ceil(len(losses) / bins))
    parts = [losses[i : i + size] for i in range(0, len(losses), size)]
    means = [sum(p) / len(p) for p in parts]
    log = min(means) > 0 and max(means) / min(means) > 10
    low, high = (math.log10(v) if log else v for v in (min(means), max(means)))
    left, right, top, bottom = 60, 700, 10, 170

    def across(share: float) -> str:
        return f"{left + (right - left) * share:.1f}"

    def up(loss: float) -> str:
        value = math.log10(loss) if log else loss
        return f"{top + (bottom - top) * (high - value) / ((high - low) or 1):.1f}"

    last = max(1, len(means) - 1)
    points = " ".join(f"{across(i / last)},{up(v)}" for i, v in enumerate(means))
    marks = "".join(
        f'<path d="M{left} {up(v)}H{right}" stroke="currentColor" stroke-opacity=".15"/>'
        f'<text x="{left - 6}" y="{up(v)}" dy=".35em" text-anchor="end">{v:.6g}</text>'
        for v in loss_ticks(min(means), max(means), log)
    )
    first, end = steps[0], steps[-1]
    marks += "".join(
        f'<text x="{across((v - first) / ((end - first) or 1))}" y="187" text-anchor="middle">'
        f"{v:,.0f}</text>"
        for v in ticks(first, end)
    )
    title = f"loss{' (logarithmic)' if log else ''} over training steps"
    return (
        '<svg viewBox="0 0 720 210" role="img" aria-label="loss over steps" '
        'font-family="system-ui" font-size="12" fill="currentColor">'
        f'{marks}<polyline points="{points}" fill="none" stroke="#2a6fdb" stroke-width="1.5"/>'
        f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="currentColor"/>'
        f'<text x="{(left + right) / 2}" y="204" text-anchor="middle">{title}</text></svg>'
    )
