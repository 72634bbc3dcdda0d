"""``diffode explore``."""

from __future__ import annotations

from pathlib import Path

import typer

from diffode.cli.exploration import Explore
from diffode.cli.outcome import require_out
from diffode.data import load, names
from diffode.explore import explorer_page
from diffode.files import write_text
from diffode.runs.plan import CONFIG
from diffode.runs.run import home
from diffode.runs.targets import resolve


def command(asked: Explore) -> None:
    """Write the explorer."""
    require_out(asked.out, ".html")
    datasets, field = [], None
    if asked.source is not None and _is_run(asked.source):
        target = resolve(asked.source, trust=asked.trust)
        datasets, field = [target.dataset()], target.field
    elif asked.source is not None:
        datasets = [load(asked.source)]
    title = "Explorer" + "".join(f": {dataset.name}" for dataset in datasets)
    if field is not None:
        title = f"Explorer: {target.called}"
    write_text(asked.out, explorer_page(datasets, title, field))
    size = asked.out.stat().st_size / 1e6
    typer.echo(f"wrote {asked.out} ({size:.1f} MB); open it in a browser")


def _is_run(source: str) -> bool:
    """Whether it is a run, or a checkpoint of one, and no data set."""
    return source not in names() and (home(Path(source)) / CONFIG).exists()
