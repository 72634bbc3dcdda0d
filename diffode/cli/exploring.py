"""``diffode explore``."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import typer

from diffode.cli.exploration import Explore
from diffode.cli.outcome import require_out, warn
from diffode.cli.signals import handled
from diffode.data import load, names
from diffode.explore import explorer_page
from diffode.explore.serving import address, server_of
from diffode.fields.corruption import Corrupting
from diffode.files import write_text
from diffode.interop.folders import is_pipeline
from diffode.runs.plan import CONFIG
from diffode.runs.run import home
from diffode.runs.targets import resolve


def command(asked: Explore) -> None:
    """Write the explorer, or serve it.

    Raises:
        ValueError: a file or a port that is not for what is asked, or a source that is not shown.
    """
    out = asked.out or Path("explorer.html")
    if asked.serve and asked.out is not None:
        raise ValueError(f"got --serve and --out {asked.out}; give one of the two")
    if asked.port is not None and not asked.serve:
        raise ValueError(f"got --port {asked.port} without --serve, which it is for")
    if not asked.serve:
        require_out(out, ".html")
    datasets, field = [], None
    if asked.source is not None and _is_run(asked.source):
        target = resolve(asked.source, trust=asked.trust)
        datasets, field = [target.dataset()], target.field
    elif asked.source is not None and is_pipeline(asked.source):
        raise ValueError(
            f"got {asked.source}, a pipeline, whose data are not known; wanted a run or data"
        )
    elif asked.source is not None:
        datasets = [load(asked.source)]
    title = "Explorer" + "".join(f": {dataset.name}" for dataset in datasets)
    if field is not None:
        title = f"Explorer: {target.called}"
    if isinstance(field, Corrupting):
        warn(f"{title.removeprefix('Explorer: ')} moves no points; the page shows its data alone")
    page = explorer_page(datasets, title, field)
    if asked.serve:
        _serve(page, asked.port or 0)
        return
    write_text(out, page)
    typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB); open it in a browser")


def _serve(page: str, port: int) -> None:
    """Serve a page until Ctrl-C, which is how this ends and no error."""
    ending = handled([signal.SIGINT], signal.default_int_handler)  # which "&" has ignored
    with server_of(page, port) as server, suppress(KeyboardInterrupt), ending:
        typer.echo(f"the explorer is at {address(server)} ; Ctrl-C ends it")
        server.serve_forever()


def _is_run(source: str) -> bool:
    """Whether it is a run, or a checkpoint of one, and no data set."""
    return source not in names() and (home(Path(source)) / CONFIG).exists()
