"""``diffode distil``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from diffode.cli.guiding import guidance_in, target_of
from diffode.cli.maps import Distil
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.cli.signals import Ended
from diffode.cli.training import Job, carried_out
from diffode.files import is_main_process, require_writable
from diffode.metrics.panel import Panel
from diffode.processes import place
from diffode.runs.distilling import Distillation
from diffode.runs.plan import Plan, changes
from diffode.runs.run import Lesson, home, require_free
from diffode.sharing import all_of
from diffode.training.lock import hold

_OWN = ("nfe", "objective", "pairs", "pairs_nfe", "seed")  # a run keeps them


def command(asked: Distil) -> None:
    """Distil a run, sample, measure, and write the run directory."""
    distillation = _distillation(asked)
    given = {k: getattr(asked, k) for k in ("steps",) if getattr(asked, k) is not None}
    options = pairs(asked.assignments, given)
    for key in {
        "objective",
        "of",
        "settings",
        "warm",
        "evaluations",
        "out",
        "seed",
    } & options.keys():
        raise ValueError(f"got --set {key}; diffode distil states it itself")
    if asked.resume is None:
        folder = asked.out or _fresh(asked)
        if asked.objective not in (None, "pairs") and (asked.pairs or asked.pairs_nfe):
            raise ValueError(
                f"got --pairs for --objective {asked.objective}, which draws no paths; leave "
                "--pairs and --pairs-nfe away"
            )
        plan = distillation.plan(
            asked.nfe or 1, asked.objective or "pairs", asked.seed or 0, options
        )
        if is_main_process():  # before the others begin to write
            require_free(folder)
        job = Job(plan, folder, again=_again(asked))
    else:
        job = _resumed(asked, distillation, options, asked.resume)
    dataset = distillation.teacher.dataset()
    panel = Panel(dataset, asked.samples, labels=job.plan.labels)
    with hold(require_writable(job.folder)):
        if is_main_process() and not job.resume:
            distillation.record(job.folder, asked.pairs, asked.pairs_nfe)
        all_of(None)  # wait for what the first has written
        lesson = _lesson(distillation, job)
        carried_out(job, dataset, panel, asked.samples, lesson)


def _lesson(distillation: Distillation, job: Job) -> Lesson:
    """What the student learns from, its paths drawn with a line of progress."""
    if job.plan.options["objective"] != "pairs":
        return distillation.lesson(job.plan, None, lambda rows: None)
    drawing = distillation.drawing(job.folder, job.plan)
    try:
        with progress_bar("paths", drawing.count) as bar:
            return distillation.lesson(job.plan, drawing, bar.advance)
    except (KeyboardInterrupt, Ended):
        typer.echo(
            f"stopped; the paths so far are kept, give the same command with --out {job.folder} "
            "to go on"
        )
        raise


def _distillation(asked: Distil) -> Distillation:
    """What is distilled.

    Raises:
        ValueError: guidance that a student cannot be told.
    """
    if asked.classifier is not None:
        raise ValueError(
            "got --classifier; a student is told the labels that its run was trained on, and a "
            "run that is guided by a classifier has none: train it with --labels"
        )
    guidance = guidance_in(asked)
    target = target_of(asked)
    if guidance is None:
        return replace(Distillation.of(target), from_data=asked.from_data)
    if target.plan is None or not target.plan.labels:
        raise ValueError("got --guidance for a run without labels; train it with --labels")
    found = Distillation.of(target, guidance.of(target), guidance.key)
    return replace(found, from_data=asked.from_data)


def _resumed(
    asked: Distil, distillation: Distillation, options: dict[str, object], path: Path
) -> Job:
    """A distillation that goes on."""
    folder = home(path)
    for name in _OWN:
        if getattr(asked, name) is not None:
            raise ValueError(
                f"a resumed run keeps its {name}; leave --{name.replace('_', '-')} away"
            )
    if asked.out is not None and asked.out != folder:
        raise ValueError("a resumed run goes on in its own directory; leave --out away")
    distillation.require_same(folder)
    stored = Plan.read(folder, trust=asked.trust)
    plan = stored.altered(options)
    resume = True if path.is_dir() else path
    return Job(plan, folder, resume, changes(stored, plan, folder), again=_again(asked))


def _again(asked: Distil) -> tuple[str, ...]:
    """The command that goes on with a distillation, without --resume."""
    words = ["distil", asked.target]
    words += [] if asked.guidance is None else ["--guidance", f"{asked.guidance:g}"]
    words += [] if asked.interval is None else ["--interval", *map(str, asked.interval)]
    words += [] if asked.weak is None else ["--weak", asked.weak]
    words += ["--from-data"] if asked.from_data else []
    return (*words, *(["--weights", asked.weights] if asked.weights != "ema" else []))


def _fresh(asked: Distil) -> Path:
    """A run directory beside the run that does not exist yet."""
    if place().total > 1:
        raise ValueError("several processes must agree on the run directory; give --out")
    run = home(Path(asked.target))
    name = f"{run.name}-{asked.objective or 'pairs'}-{asked.nfe or 1}"
    number, folder = 1, run.with_name(name)
    while folder.exists():
        number += 1
        folder = run.with_name(f"{name}-{number}")
    return folder
