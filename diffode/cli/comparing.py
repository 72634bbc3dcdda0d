"""``diffode bench``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from diffode.bench.comparison import compare
from diffode.bench.config import BenchConfig, make_config, run_named
from diffode.bench.outline import outline
from diffode.bench.page import page
from diffode.bench.results import RESULTS, Results, merge, read_results
from diffode.bench.tables import cells_table, markdown, sections
from diffode.bench.untrained import own_data
from diffode.cli.comparisons import Bench
from diffode.cli.hints import command_line
from diffode.cli.progress import progress_bar
from diffode.cli.shared import given_once, pairs
from diffode.cli.signals import Ended, stopping
from diffode.code import place
from diffode.config_file import SUFFIXES, dump, read_config
from diffode.files import is_main_process, require_writable, write_text
from diffode.markup import words
from diffode.runs.targets import resolve


def command(asked: Bench) -> None:
    """Compare, and write the report."""
    given, file = _asked(asked)
    if asked.merge:
        if file is not None or asked.assignments or given:
            raise ValueError("--merge takes finished folders and nothing else but --out")
        results = merge([read_results(folder) for folder in asked.merge])
        require_writable(asked.out)
        report(results, asked.out, ", ".join(f.name for f in asked.merge))
        return
    config = configured(file, given, asked.assignments, trust=asked.trust)
    if asked.dry_run:
        return _tell(config, asked.out, asked.trust)
    if file is None and not given and not asked.assignments:
        raise ValueError(
            f"nothing was started: the usual comparison trains {', '.join(config.fields)} on "
            f"{', '.join(config.data)}; diffode bench --dry-run lists it, and diffode bench "
            f"--data {config.data[0]} starts it"
        )
    begun = False
    try:
        with stopping() as stop, progress_bar("bench", 1) as bar:

            def show(done: int, total: int, note: str) -> None:
                nonlocal begun
                begun = True
                bar.advance(done, note, total)
                if stop.number is not None:
                    stop.end()  # between two steps, so that a training keeps what it has

            results = compare(config, asked.out, show, trust=asked.trust)
    except (KeyboardInterrupt, Ended):
        if begun:
            code_too = any(map(place, [*config.targets, config.classifier or ""]))
            more = ["--trust"] if asked.trust or code_too else []
            line = command_line("bench", asked.out / "config.yaml", "--out", asked.out, *more)
            typer.echo(f"stopped; what is measured is kept, go on with{line}")
        raise
    report(results, asked.out, asked.out.name if file is None else file.stem)
    if lost := sum(bool(cell.get("lost")) for cell in results.cells):
        raise ValueError(
            f"{lost} of {len(results.cells)} cells have samples that are not finite; the report "
            f"in {asked.out} names them"
        )


def _tell(config: BenchConfig, out: Path, trust: bool) -> None:
    """Say what a comparison would do."""
    table, count = outline(config, trust)
    typer.echo(table.text())
    typer.echo(f"{count}, into {out} (nothing was written; what is there is not computed again)")


def _asked(asked: Bench) -> tuple[dict[str, Any], Path | None]:
    """What the command line states of a configuration, by the configuration's names; its file.

    Raises:
        ValueError: two files, or TARGETs without data to measure them by.
    """
    files = [Path(name) for name in asked.what or [] if Path(name).suffix in SUFFIXES]
    targets = [name for name in asked.what or [] if Path(name).suffix not in SUFFIXES]
    if len(files) > 1:
        raise ValueError(f"got {files[0]} and {files[1]}; give one configuration")
    file = given_once("CONFIG", next(iter(files), None), asked.config)
    given = _given(asked, targets)
    if targets and file is None and asked.data is None:
        given["data"] = own_data([resolve(name, trust=asked.trust) for name in targets])
    return given, file


def _given(asked: Bench, targets: list[str]) -> dict[str, Any]:
    given = {
        "targets": targets or None, "fields": asked.field, "data": asked.data,
        "solvers": asked.solver, "nfe": asked.nfe,
        "seeds": asked.seed, "steps": asked.steps, "seconds": asked.seconds,
        "samples": asked.samples, "budget": asked.budget,
        "features": asked.features, "metrics": asked.metric, "labels": asked.labels,
        "guidance": asked.guidance, "interval": asked.interval,
        "classifier": asked.classifier, "null_label": asked.null_label,
        "device": asked.device,
    }  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def configured(
    file: Path | None,
    given: Mapping[str, Any],
    assignments: list[str] | None = None,
    trust: bool = False,
) -> BenchConfig:
    """The configuration of a file, with what the command line states in its place.

    Code that the command line names is run; what the file names only where it is trusted.
    """
    content = {} if file is None else read_config(file)
    content = run_named(content) if trust else content
    train = pairs(assignments, {k: v for k, v in given.items() if k == "steps"})
    stated = {name: value for name, value in given.items() if name != "steps"}
    stated = run_named(stated | {"train": train})
    if isinstance(before := content.get("train", {}), dict):
        stated["train"] = before | stated["train"]
    else:
        del stated["train"]  # what the file has there is refused
    content |= stated
    return make_config(**content)


def report(results: Results, out: Path, title: str) -> None:
    """Write the report's files, print its first tables, and say where the rest is."""
    if not is_main_process():
        return
    commands = "\n".join(f"    {line}" for line in results.command.splitlines())
    texts = {name: dump(config) for name, config in results.named_configs.items()} | {
        "report.html": page(results, title),
        "report.md": f"# {words(title)}\n\n{markdown(results)}\n\n{commands}\n",
        "results.csv": cells_table(results).csv(),
    }
    results.write(out)
    for section in sections(results):
        about = f"{section.metric} on {section.data} by {section.unit}"
        typer.echo(f"{about}; real data {section.floor}")
        typer.echo(section.by_cost.text())
    for name, text in texts.items():
        write_text(out / name, text)
    for name in (*texts, RESULTS):
        typer.echo(f"wrote {out / name}")
