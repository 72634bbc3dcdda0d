"""``diffode explore``."""

from __future__ import annotations

from pathlib import Path

import typer

from diffode.cli.exploration import Explore
from diffode.cli.outcome import require_out
from diffode.data import Dataset, load, names
from diffode.explore import explorer_page
from diffode.files import write_text
from diffode.runs.plan import CONFIG
from diffode.runs.run import home
from diffode.runs.targets import resolve


def command(asked: Explore) -> None:
    """Write the explorer."""
    require_out(asked.out, ".html")
    datasets = [] if asked.source is None else [_data(asked.source, asked.trust)]
    title = "diffode explorer" + "".join(f": {dataset.name}" for dataset in datasets)
    write_text(asked.out, explorer_page(datasets, title))
    size = asked.out.stat().st_size / 1e6
    typer.echo(f"wrote {asked.out} ({size:.1f} MB); open it in a browser")


def _data(source: str, trust: bool) -> Dataset:
    """The data of a run, or a data set."""
    if source not in names() and (home(Path(source)) / CONFIG).exists():
        return resolve(source, trust=trust).dataset()
    return load(source)
