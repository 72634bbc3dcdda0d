"""``diffode plot``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import typer
from torch import Tensor

from diffode import registry
from diffode.cli.classes import classes_to_draw
from diffode.cli.guiding import target_of
from diffode.cli.outcome import require_out
from diffode.cli.picturing import Drawn, Plot
from diffode.cli.progress import Bar
from diffode.cli.shared import pairs
from diffode.data import Dataset, load, names
from diffode.inputs import quoted
from diffode.interop.pipelines import pixels
from diffode.options import suggest
from diffode.runs.exact import exact, is_recipe
from diffode.runs.targets import Target
from diffode.training.record import logged
from diffode.viz import canvas
from diffode.viz.images import is_image
from diffode.viz.kinds import KINDS, of_each
from diffode.viz.plots import drawing, form_of
from diffode.viz.scene import Scene

DATA = "moons"  # that an exact field is of, where none is named
_QUIET = 2.0  # seconds before progress is shown


def command(asked: Plot) -> None:
    """Draw a picture and say where it is."""
    if asked.kind not in KINDS:
        hint = suggest(asked.kind, list(KINDS))
        raise ValueError(f"got --kind {quoted(asked.kind)}; {hint}wanted {', '.join(KINDS)}")
    form_of(asked.out)
    require_out(asked.out, ".png", ".svg", ".pdf")
    canvas.require_matplotlib()
    with bar("plot") as progress:
        scene = scene_of(asked, progress, form_of(asked.out))
        picture = drawing(asked.kind, scene)
        canvas.write(picture, asked.out)
    typer.echo(f"wrote {asked.out}")


def scene_of(asked: Drawn, progress: Callable[[int, int], None], form: str = "png") -> Scene:
    """What a command draws.

    Raises:
        ValueError: a TARGET, labels or numbers that do not fit.
    """
    target, dataset = subject(asked)
    known: dict[str, Any] = {}
    if dataset is not None and dataset.event_shape == tuple(target.field.event_shape):
        known = {"data": dataset.train, "data_labels": dataset.train_labels}
    elif dataset is not None and asked.data is not None:
        target.require_fits(dataset, asked.data, labels=False)
    y: Tensor | None = None
    n = asked.n
    if asked.label is not None or asked.per_class is not None:
        kind = asked.kind if isinstance(asked, Plot) else "film"
        images = target.latent or is_image(tuple(target.field.event_shape))
        usual = partial(of_each, kind, images)
        n, y = classes_to_draw(asked.label, asked.per_class, asked.n, target, usual)
    seen = partial(pixels, target.field) if target.latent else None
    moves: dict[str, Any] = {"solver": asked.solver or target.solver}
    moves |= pairs(asked.assignments)
    own: dict[str, Any] = {}
    if isinstance(asked, Plot):
        moves |= {"nfe": asked.nfe, "steps": asked.steps}
        own = {"times": _numbers(asked.times, "--times", float)}
        own |= {"losses": _losses(target)} if asked.kind == "loss" else {}
    return Scene(
        field=target.field.eval(),
        title=asked.title or _title(asked, target, dataset),
        names=target.class_names,
        samples=n,
        seed=asked.seed,
        y=y,
        axes=_numbers(asked.axes, "--axes", int),
        dark=asked.dark,
        form=form,
        moves={key: value for key, value in moves.items() if value is not None},
        seen=seen,
        progress=progress,
        **known,
        **own,
    )


def subject(asked: Drawn) -> tuple[Target, Dataset | None]:
    """The field that is drawn, and the data beside it.

    Raises:
        ValueError: no field of that name and no TARGET, or one that has no data.
    """
    if is_recipe(asked.target):
        for option, given in (("--weights", asked.weights != "ema"), ("--trust", asked.trust)):
            if given:
                raise ValueError(f"got {option} for the exact field of data, which is no run")
        if asked.label is not None or asked.per_class is not None:
            raise ValueError(
                f"got labels for {asked.target}, the exact field of all the data; give a run that "
                "was trained with --labels"
            )
        dataset = load(asked.data or DATA)
        return Target(asked.target, exact(asked.target, dataset), None), dataset
    if not Path(asked.target).exists() and asked.target in names():
        raise ValueError(
            f"got the data set {asked.target}; wanted a field, and the data beside it, as "
            f"vp --data {asked.target}"
        )
    if not Path(asked.target).exists() and (
        hint := suggest(asked.target, registry.names("recipe"))
    ):
        raise ValueError(
            f"{quoted(asked.target)} is no field, and no TARGET is there; {hint}diffode fields "
            "lists the fields"
        )
    target = target_of(asked)
    own = target.plan is not None
    if getattr(asked, "kind", None) == "loss" or (asked.data is None and not own):
        return target, None
    return target, target.dataset(asked.data)


def _title(asked: Drawn, target: Target, dataset: Dataset | None) -> str:
    if target.plan is None and dataset is not None and is_recipe(asked.target):
        return f"{asked.target}, exact field of {dataset.name}"
    return target.called


def _losses(target: Target) -> dict[str, tuple[list[int], list[float]]]:
    """The losses of each phase, as a run logged them."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in [] if target.folder is None else logged(target.folder):
        for phase, loss in line.get("loss", {}).items():
            steps, values = found.setdefault(phase, ([], []))
            steps.append(line["step"])
            values.append(float(loss))
    return found


def _numbers(text: str | None, option: str, kind: Callable[[str], Any]) -> tuple[Any, ...] | None:
    """Numbers with commas between them."""
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise ValueError(f"got {option} {quoted(text)}; wanted {wanted}, as 1,2") from None


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Progress that shows after two seconds, for the length of a block."""
    shown, begun = Bar(what, 1), time.monotonic()

    def progress(done: int, of: int) -> None:
        if time.monotonic() - begun > _QUIET:
            shown.advance(done, total=of)

    try:
        yield progress
    finally:
        shown.close()
