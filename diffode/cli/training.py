"""``diffode train``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from diffode.assess import Assessment, assess, save_samples
from diffode.cli.app import pairs
from diffode.cli.hints import command_line
from diffode.cli.outcome import warn
from diffode.cli.progress import progress_bar
from diffode.files import is_main_process
from diffode.recipes import find
from diffode.report import write_report
from diffode.run import Plan, Run, execute, load_data
from diffode.training.trainer import TrainState
from diffode.viz import samples_picture
from diffode.viz.canvas import require_matplotlib
from diffode.viz.images import is_image

_FLAGS = {"field", "data", "labels", "seed", "solver", "out", "resume"}


def command(
    field: str | None,
    data: str | None,
    seed: int | None,
    labels: bool | None,
    given: Mapping[str, Any],
    assignments: list[str],
    out: Path | None,
    resume: Path | None,
    samples: int,
) -> None:
    """Train, sample, measure, and write the run directory."""
    options = pairs(assignments, {k: v for k, v in given.items() if v is not None})
    for key in _FLAGS & options.keys():
        raise ValueError(f"got --set {key}; --set takes options of the recipe and the trainer")
    if resume is not None:
        if out is not None and out != resume:
            raise ValueError("a resumed run goes on in its own directory; leave --out away")
        asked = {"field": field, "data": data, "seed": seed, "labels": labels}
        plan, folder = _resumed(asked, options, resume), resume
    else:
        if field is None:
            raise ValueError("give --field NAME; diffode fields lists the names")
        plan = Plan.make(field, data or "digits", labels=bool(labels), seed=seed or 0, **options)
        folder = out or _fresh(plan)
    dataset = load_data(plan)
    if not is_image(dataset.event_shape):
        require_matplotlib()
    if plan.solver != "default":
        typer.echo(f"{field or plan.solver} is {plan.field}, sampled with {plan.solver}")
    what, total = f"train {plan.field} on {dataset.name}", plan.training["steps"]
    with _stop_on_interrupt() as stopped, progress_bar(what, total) as bar:

        def watch(state: TrainState) -> bool:
            loss = sum(state.losses.values())
            stopped.steps.append(state.step)
            speed = len(stopped.steps) / state.seconds
            bar.advance(state.step, f"loss {loss:.4f}, {speed:.1f} steps/s")
            return stopped.requested

        run = execute(plan, dataset, out=folder, resume=resume is not None, watch=watch)
    if not is_main_process():
        return
    go_on = f"go on with{command_line('train', '--resume', folder)}"
    if stopped.requested:
        typer.echo(f"stopped at step {stopped.steps[-1]}; {go_on}")
        raise KeyboardInterrupt
    try:
        with progress_bar("sample", samples) as bar:
            result = assess(
                run.field,
                dataset,
                n=samples,
                solver=plan.solver,
                seed=plan.seed,
                labels=plan.labels,
                progress=bar.advance,
            )
    except KeyboardInterrupt:
        typer.echo(f"stopped while sampling; {go_on}")
        raise
    _finish(run, result, folder)


def _resumed(asked: dict[str, Any], options: dict[str, Any], folder: Path) -> Plan:
    stored = Plan.read(folder)
    if asked["field"] is not None:
        asked["field"] = find(asked["field"]).name
    for key, value in asked.items():
        was = getattr(stored, key)
        if value is not None and value != was:
            raise ValueError(f"{folder} is a run with {key} {was}, not {value}; start a new run")
    merged = {**stored.options, **stored.training, **options}
    plan = Plan.make(
        stored.field,
        stored.data,
        labels=stored.labels,
        seed=stored.seed,
        solver=stored.solver,
        **merged,
    )
    if plan.options != stored.options:
        raise ValueError(
            "a resumed run keeps its recipe's options; start a new run to change them"
        )
    return plan


def _fresh(plan: Plan) -> Path:
    """A run directory that does not exist yet."""
    if "RANK" in os.environ:
        raise ValueError("several processes must agree on the run directory; give --out")
    name = f"{plan.field}-{Path(plan.data).stem}"
    number, folder = 1, Path("runs") / name
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def _finish(run: Run, result: Assessment, folder: Path) -> None:
    """Write what the run leaves, and print it."""
    samples_picture(result.solution.x.cpu()[:100], folder / "samples.png", run.dataset.train)
    save_samples(result.solution, folder / "samples.npz")
    result.write(folder / "quality.json")
    write_report(run, result, folder / "report.html", *_losses(folder))
    count, nfe = result.samples.count, result.solution.nfe
    warn(result.solution.shortfall("samples"))
    typer.echo(f"trained in {run.seconds:.0f} s; {count} samples, {nfe} evaluations each")
    typer.echo(f"{'':18} {'Frechet':>8} {'precision':>9} {'recall':>7} {'nearest':>8}")
    for name, q in result.rows():
        typer.echo(
            f"{name:18} {q.frechet:8.3f} {q.precision:9.3f} {q.recall:7.3f} {q.nearest:8.3f}"
        )
    for name in ("samples.png", "samples.npz", "report.html", "quality.json", "config.json"):
        typer.echo(f"wrote {folder / name}")
    typer.echo(f"wrote {folder / 'metrics.jsonl'} and {folder / 'checkpoints'}")


def _losses(folder: Path) -> tuple[list[int], list[float]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    pairs = [(line["step"], sum(line["loss"].values())) for line in lines]
    return [step for step, _ in pairs], [loss for _, loss in pairs]


class _Stop:
    """Whether an interrupt has asked for an end, and the steps done in this call."""

    def __init__(self) -> None:
        self.requested = False
        self.steps: list[int] = []


@contextmanager
def _stop_on_interrupt() -> Iterator[_Stop]:
    """Turn the first Ctrl-C into a request; a second one interrupts at once."""
    stop = _Stop()

    def handle(number: int, frame: object) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True
        print("\nstopping after this step", file=sys.stderr)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
