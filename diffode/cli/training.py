"""``diffode train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from diffode import admission, code, registry
from diffode.cli.commands import Train
from diffode.cli.evaluating import show_evaluation
from diffode.cli.hints import command_line
from diffode.cli.lists import show
from diffode.cli.outcome import warn
from diffode.cli.planning import outline
from diffode.cli.progress import progress_bar
from diffode.cli.shared import given_once, pairs, reading
from diffode.cli.signals import Ended, stopping
from diffode.data import Dataset, names, source_of
from diffode.devices import deterministic
from diffode.files import is_main_process
from diffode.metrics.panel import Panel
from diffode.options import counted
from diffode.processes import Lost, place
from diffode.recipes import find
from diffode.runs import history
from diffode.runs.assess import Assessment, assess, save_samples
from diffode.runs.pace import within
from diffode.runs.plan import Plan, changes
from diffode.runs.report import write_report
from diffode.runs.results import RESULTS, SUMS, write_sums
from diffode.runs.run import Lesson, Run, execute, home, load_data, require_free
from diffode.runs.suited import suited
from diffode.runs.targets import unknown
from diffode.solvers import get_solver
from diffode.training import checkpoint
from diffode.training.best import BEST, figure
from diffode.training.record import logged
from diffode.training.trainer import TrainState
from diffode.viz.canvas import require_matplotlib
from diffode.viz.images import is_image

_FLAGS = {"field", "data", "prior_data", "labels", "seed", "solver", "out", "resume", "since"}


@dataclass(frozen=True)
class Job:
    """What a command trains.

    Attributes:
        plan: what is asked for.
        folder: the run directory.
        resume: whether a run goes on, or the checkpoint that it goes on from.
        changes: what that changes of the run, a line each.
        note: what is not known of the run; empty where all is.
        again: the command that goes on with the run, without --resume and what follows it.
        pairs: a file of samples and noise to train on, or None.
    """

    plan: Plan
    folder: Path
    resume: bool | Path = False
    changes: Sequence[str] = ()
    note: str = ""
    again: tuple[str, ...] = ("train",)
    pairs: Path | None = None


def command(asked: Train) -> None:
    """Train, sample, measure, and write the run directory."""
    asked = replace(
        asked,
        field=given_once("FIELD", asked.first, asked.field),
        data=given_once("DATA", asked.second, asked.data),
    )
    own = ("steps", "batch", "device", "deterministic", "network")
    given = {key: getattr(asked, key) for key in own}
    options = pairs(asked.assignments, {k: v for k, v in given.items() if v is not None})
    for key in _FLAGS & options.keys():
        raise ValueError(f"got --set {key}; --set takes options of the recipe and the trainer")
    if asked.pairs is not None:
        for other in ("resume", "minutes"):
            if getattr(asked, other) is not None:
                raise ValueError(f"got --pairs and --{other}; give the one or the other")
        options = {"coupling": "pairs"} | options
    if asked.minutes is not None and ("steps" in options or asked.resume is not None):
        other = "--resume" if asked.resume is not None else "--steps"
        raise ValueError(f"got --minutes and {other}; give the one or the other")
    job = _new(asked, options) if asked.resume is None else _resumed(asked, options, asked.resume)
    dataset = load_data(job.plan)
    if not job.resume:
        job = replace(job, plan=suited(job.plan, dataset))
    if asked.minutes is not None:
        job = _timed(job, dataset, asked.minutes)
    units = () if dataset.scaling is None else (f"learned as {dataset.scaling}",)
    unasked = dataset.class_names and asked.labels is None and not job.plan.labels
    hints = ("its classes are not learned; --labels learns them",) if unasked else ()
    for note in (*dataset.notes, *units, *hints):
        typer.echo(f"{dataset.name}: {note}", err=True)
    if not is_image(dataset.event_shape):
        require_matplotlib()
    panel = Panel(dataset, asked.samples, labels=job.plan.labels)
    if asked.dry_run:
        return _tell(job, dataset)
    field = code.short(job.plan.field)
    if job.plan.solver != "default":
        alias = asked.field is not None and code.short(asked.field) != field
        named = f"{asked.field} is {field}," if alias else f"{field} is"
        typer.echo(f"{named} sampled with {code.short(job.plan.solver)}")
    carried_out(job, dataset, panel, asked.samples)


def carried_out(
    job: Job, dataset: Dataset, panel: Panel, samples: int, lesson: Lesson | None = None
) -> None:
    """Train, draw samples and measure them, with lines of progress; write the run directory."""
    run = trained(job, dataset, lesson)
    if is_main_process() and (run.losses or _lacks_results(job)):
        finish(run, assessed(run, panel, samples, job), job.folder)


def _timed(job: Job, dataset: Dataset, minutes: float) -> Job:
    """The job with as many steps as fit into so many minutes."""
    require_free(job.folder)
    plan = within(job.plan, dataset, 60 * minutes)
    typer.echo(f"{counted(plan.steps, 'step')} fit into {minutes:g} min", err=True)
    return replace(job, plan=plan)


def trained(job: Job, dataset: Dataset, lesson: Lesson | None = None) -> Run:
    """Train with a line of progress, until the end or a signal."""
    steps: list[int] = []

    def watch(state: TrainState) -> bool:
        if not steps:
            for line in job.changes:
                typer.echo(f"changed: {line}", err=True)
            warn(job.note)
        steps.append(state.step)
        loss, speed = sum(state.losses.values()), len(steps) / state.seconds
        bar.advance(state.step, f"loss {loss:.4f}, {speed:.1f} steps/s")
        return stop.asked()

    what = f"train {code.short(job.plan.field)} on {dataset.name}"
    with stopping() as stop, progress_bar(what, job.plan.steps) as bar:
        kept: dict[str, Any] = {"out": job.folder, "resume": job.resume, "pairs": job.pairs}
        try:
            run = execute(job.plan, dataset, watch=watch, lesson=lesson, **kept)
        except Lost as lost:
            raise Lost(f"{lost}; {_go_on(job)}" if steps else str(lost)) from None
    if stop.number is not None:
        if is_main_process() and steps:
            typer.echo(f"stopped at step {steps[-1]}; {_go_on(job)}")
        stop.end()
    return run


def _lacks_results(job: Job) -> bool:
    """Whether a run that has had all its steps lacks something that a training leaves."""
    typer.echo(f"already at step {job.plan.steps} of {job.plan.steps}; --steps takes it further")
    for line in job.changes:
        kept = line.startswith("data: ")  # their place, which changes nothing learned
        lost = "not changed, there is nothing to train"
        typer.echo(f"{'changed' if kept else lost}: {line}", err=True)
    wanted = (*RESULTS, SUMS) if history.read(job.folder) else RESULTS
    return not all((job.folder / name).exists() for name in wanted)


def assessed(run: Run, panel: Panel, n: int, job: Job) -> Assessment:
    """Draw and measure samples with a line of progress."""
    settled = deterministic(job.plan.training["deterministic"])
    try:
        with settled, progress_bar("sample", n) as bar:
            return assess(
                run.field,
                panel,
                title=f"{code.short(run.plan.field)} on {run.dataset.name}",
                checkpoint=checkpoint.file_at(job.folder).stem,
                n=n,
                solver=job.plan.solver,
                seed=job.plan.seed,
                progress=bar.advance,
            )
    except (KeyboardInterrupt, Ended):
        typer.echo(f"stopped while sampling; {_go_on(job)}")
        raise


def _new(asked: Train, options: dict[str, Any]) -> Job:
    """A new run."""
    if asked.field is None:
        raise ValueError("give a FIELD, as in diffode train edm; diffode fields lists the names")
    known = {*registry.names("recipe"), *registry.aliases("recipe")}
    if asked.field not in known and code.place(asked.field) is None and Path(asked.field).exists():
        raise ValueError(
            f"got the path {asked.field} as FIELD; the field stands before the data, as in "
            f"diffode train edm {asked.field}"
        )
    if asked.labels is False and find(asked.field, run=True).labels:
        raise ValueError(f"got --no-labels, but {asked.field} learns from labels alone")
    options |= {"labels": bool(asked.labels), "seed": asked.seed or 0}
    if asked.solver is not None:
        get_solver(asked.solver)  # refused now, if at all, and not after the training
        options["solver"] = asked.solver
    read, start = reading(asked), asked.prior_data
    plan = Plan.make(
        asked.field, asked.data or "digits", reading=read, prior_data=start, **options
    )
    return Job(plan, asked.out or _fresh(plan), pairs=asked.pairs)


def _tell(job: Job, dataset: Dataset) -> None:
    """Say what a training would do."""
    if not job.resume:
        require_free(job.folder)
    last = job.resume if isinstance(job.resume, Path) else checkpoint.newest(job.folder)
    show(outline(job.plan, dataset, job.folder, last))


def _go_on(job: Job) -> str:
    return f"go on with{command_line(*job.again, '--resume', job.folder)}"


def _resumed(asked: Train, options: dict[str, Any], path: Path) -> Job:
    """A run that goes on, with what may be changed in it."""
    folder = home(path)
    if asked.out is not None and asked.out != folder:
        raise ValueError("a resumed run goes on in its own directory; leave --out away")
    if asked.solver is not None:
        raise ValueError("a resumed run keeps its solver; leave --solver away")
    if asked.prior_data is not None:
        raise ValueError("a resumed run starts from where it did; leave --prior-data away")
    field = None if asked.field is None else find(asked.field, run=True).name
    data = None if asked.data is None else registry.opened("source", asked.data)
    for name in reading(asked):
        option = "--label-column" if name == "label" else f"--{name}"
        raise ValueError(f"a resumed run reads its data as it did; leave {option} away")
    options = admission.opened_parts(options)
    stored = Plan.read(folder, trust=asked.trust)
    fixed: dict[str, Any] = {"field": field, "seed": asked.seed, "labels": asked.labels}
    known = {key: value for key, value in fixed.items() if value is not None}
    plan = replace(stored.altered(options), **known)
    if data is not None and data != stored.data and source_of(data) != stored.source:
        if stored.fingerprint is None or {data, stored.source} & set(names()):
            raise ValueError(
                f"{folder} is a run with data {stored.data}, not {data}; start a new run"
            )
        plan = replace(plan, data=data, source=source_of(data))
    resume, note = True if path.is_dir() else path, unknown(str(folder), stored)
    return Job(plan, folder, resume, changes(stored, plan, folder), note)


def _fresh(plan: Plan) -> Path:
    """A run directory that does not exist yet."""
    if place().total > 1:
        raise ValueError("several processes must agree on the run directory; give --out")
    name = f"{code.word(plan.field)}-{code.word(plan.data)}"
    number, folder = 1, Path("runs") / name
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def finish(run: Run, result: Assessment, folder: Path, more: Sequence[str] = ()) -> None:
    """Write what the run leaves, with further lines on it, and print it."""
    result.picture(run.dataset, folder / "samples.png")
    save_samples(result.solution, folder / "samples.npz", result.y)
    result.write(folder / "quality.json")
    write_report(run, result, folder / "report.html", *_losses(folder), more)
    write_sums(folder)
    count, nfe = len(result.solution.x), result.solution.nfe
    warn(result.solution.shortfall("samples"))
    trained = f"trained in {run.seconds:.0f} s; " if run.losses else ""
    typer.echo(f"{trained}{count} samples, {nfe} evaluations each")
    show_evaluation(result.evaluation)
    for name in ("samples.png", "samples.npz", "report.html", "quality.json", "config.json"):
        typer.echo(f"wrote {folder / name}")
    typer.echo(f"wrote {folder / 'metrics.jsonl'} and {folder / 'checkpoints'}")
    if kept := figure(best := folder / "checkpoints" / BEST):
        typer.echo(f"kept {best}: step {kept[0]}, held-out loss {kept[1]:.4g}")


def _losses(folder: Path) -> tuple[list[int], list[float]]:
    pairs = [(line["step"], sum(line["loss"].values())) for line in logged(folder)]
    return [step for step, _ in pairs], [loss for _, loss in pairs]
