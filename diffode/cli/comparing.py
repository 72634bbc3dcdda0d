"""``diffode bench``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from diffode.bench.comparison import compare
from diffode.bench.config import BenchConfig, make_config
from diffode.bench.config_file import dump, read_config
from diffode.bench.page import page
from diffode.bench.results import RESULTS, Results, merge, read_results
from diffode.bench.tables import cells_table, markdown
from diffode.cli.hints import command_line
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.cli.signals import Ended, stopping
from diffode.files import is_main_process, require_writable, write_text
from diffode.markup import words


def command(
    file: Path | None,
    given: Mapping[str, Any],
    assignments: list[str],
    merged: list[Path],
    out: Path,
) -> None:
    """Compare, and write the report."""
    if merged:
        if file is not None or assignments or any(v is not None for v in given.values()):
            raise ValueError("--merge takes finished folders and nothing else but --out")
        results = merge([read_results(folder) for folder in merged])
        require_writable(out)
        report(results, out, ", ".join(f.name for f in merged))
        return
    config = configured(file, given, assignments)
    begun = False
    try:
        with stopping() as stop, progress_bar("bench", 1) as bar:

            def show(done: int, total: int, note: str) -> None:
                nonlocal begun
                begun = True
                bar.advance(done, note, total)
                if stop.number is not None:
                    stop.end()  # between two steps, so that a training keeps what it has

            results = compare(config, out, show)
    except (KeyboardInterrupt, Ended):
        if begun:
            line = command_line("bench", out / "config.yaml", "--out", out)
            typer.echo(f"stopped; what is measured is kept, go on with{line}")
        raise
    report(results, out, out.name if file is None else file.stem)
    if lost := sum(bool(cell.get("lost")) for cell in results.cells):
        raise ValueError(
            f"{lost} of {len(results.cells)} cells have samples that are not finite; the report "
            f"in {out} names them"
        )


def configured(file: Path | None, given: Mapping[str, Any], assignments: list[str]) -> BenchConfig:
    """The configuration of a file, with what the command line states in its place."""
    content = {} if file is None else read_config(file)
    content |= {k: v for k, v in given.items() if v is not None and k != "steps"}
    steps = given.get("steps")
    train = pairs(assignments, {} if steps is None else {"steps": steps})
    if isinstance(stated := content.get("train", {}), dict):
        content["train"] = stated | train
    return make_config(**content)


def report(results: Results, out: Path, title: str) -> None:
    """Write the report's files and say where."""
    if not is_main_process():
        return
    commands = "\n".join(f"    {line}" for line in results.command.splitlines())
    texts = {name: dump(config) for name, config in results.named_configs.items()} | {
        "report.html": page(results, title),
        "report.md": f"# {words(title)}\n\n{markdown(results)}\n\n{commands}\n",
        "results.csv": cells_table(results).csv(),
    }
    results.write(out)
    for name, text in texts.items():
        write_text(out / name, text)
    for name in (*texts, RESULTS):
        typer.echo(f"wrote {out / name}")
