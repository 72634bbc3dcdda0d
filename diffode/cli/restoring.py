"""``diffode restore`` and ``diffode inpaint``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import torch
import typer
from torch import Tensor

from diffode.cli.classes import classes_to_draw
from diffode.cli.guiding import guidance_in, require_labels, target_of
from diffode.cli.observing import KINDS, MASKS
from diffode.cli.outcome import deliver, require_out, warn
from diffode.cli.problems import Problem, affine, problem_of
from diffode.cli.progress import progress_bar
from diffode.cli.restorations import Inpaint, Restoration, Restore
from diffode.cli.shared import pairs
from diffode.data.scaling import model_units
from diffode.fields.affine import AffineField
from diffode.fields.conditioning import Method, conditioned
from diffode.options import counted
from diffode.priors import is_normal
from diffode.runs.guiding import Guidance
from diffode.runs.targets import Target
from diffode.sampling.batches import concatenated
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample
from diffode.sampling.smc import degenerate, twisted
from diffode.solvers import Solution
from diffode.viz import samples_picture
from diffode.viz.images import is_image
from diffode.viz.restored import restored_picture, shows
from diffode.warned import DegeneracyWarning

SOLVER = "dpm++"  # guided by an observation, trig needs more evaluations than it to be stable
BATCH = 100  # rows held at once
METHODS = (*get_args(Method), "smc")
FAR = 5  # times the noise that draws are off the observations, from where on they are doubted
PARTICLES = 64  # of an observation, where no number is given


def restore(asked: Restore) -> None:
    """Write draws of what lies behind observations."""
    if asked.operator is None:
        raise ValueError(f"got no --operator; wanted {KINDS}")
    if asked.noise is None:
        raise ValueError(
            "got no --noise; state the standard deviation of the noise of the observations, in "
            "their units (gray levels 0 to 255 where the data are bytes)"
        )
    _carry_out(asked, asked.operator, asked.noise, asked.out)


def inpaint(asked: Inpaint) -> None:
    """Write draws of what a mask hides."""
    if asked.mask is None:
        raise ValueError(f"got no --mask; wanted {MASKS}")
    _carry_out(asked, f"mask:{asked.mask}", asked.noise, asked.out)


def _carry_out(asked: Restoration, operator: str, noise: float | None, out: Path) -> None:
    require_out(out, ".png", ".npz", file=Path(asked.file))
    _require_method(asked)
    options, guidance = pairs(asked.assignments), guidance_in(asked)
    target = target_of(asked)
    problem = problem_of(asked, target, operator, noise)
    if asked.method == "smc":
        how, drawn = _by_particles(asked, target, guidance, problem)
    else:
        how, drawn = _drawn(asked, target, guidance, problem, options)
    x = drawn.x.view(len(problem.rows), asked.draws, *target.field.event_shape)
    some = f"{len(x)} of " if len(x) < problem.whole else ""
    said = f"{some}{counted(problem.whole, 'observation')}, {counted(asked.draws, 'draw')} of each"
    how += f", seed {asked.seed}; nothing selected"
    how = how if asked.label is None else f"label {asked.label}, {how}"
    title = f"{target.called}: draws given {operator}, noise {problem.noise:.3g}\n{how}"
    picture = partial(_picture, target=target, problem=problem, x=x, title=title)
    arrays = {
        "x": drawn.x,
        "row": problem.rows.repeat_interleave(asked.draws),
        "observed": problem.observed,
        "original": problem.original,
    }
    deliver(out, "draws", drawn.status, drawn.nfe_per_row, picture, **arrays)
    each = "of each particle" if asked.method == "smc" else "each"
    typer.echo(f"wrote {out} ({said}, {counted(drawn.network_calls, 'network call')} {each})")
    misfit = _misfit(problem, x)
    typer.echo(_figures(problem, x, affine(target), misfit))
    warn(_missed(misfit, asked, problem))


def _require_method(asked: Restoration) -> None:
    """Refuse a method that there is not, and options that it does not have.

    Raises:
        ValueError: naming both.
    """
    if asked.method not in METHODS:
        raise ValueError(f"got --method {asked.method}; wanted {', '.join(METHODS)}")
    if asked.method == "smc" and (asked.solver or asked.assignments):
        raise ValueError(
            "got --method smc and a solver or its options; its steps are those of the ancestral "
            "sampler: leave them out"
        )
    if asked.method != "smc" and asked.particles is not None:
        raise ValueError(f"got --particles and --method {asked.method}; they are of smc")
    if asked.particles is not None and asked.draws > asked.particles:
        raise ValueError(
            f"got --draws {asked.draws} and --particles {asked.particles}; draws are chosen from "
            "the particles: give as many particles as draws, or more"
        )


def _drawn(
    asked: Restoration,
    target: Target,
    guidance: Guidance | None,
    problem: Problem,
    options: dict[str, Any],
) -> tuple[str, Solution]:
    """How draws were made, in words, and the draws of each observation, one after the other."""
    known = _given(asked, target, guidance, problem)
    field, label = known.field, _label(asked, known, guidance)
    solver = solver_for(field, asked.solver or SOLVER, options)
    n = len(problem.observed) * asked.draws
    with progress_bar("restore", n) as bar:
        drawn = sample(
            field,
            n,
            solver,
            asked.nfe,
            asked.steps,
            asked.seed,
            label,
            batch=BATCH,
            grid=asked.grid,
            progress=bar.advance,
        )
    parts = [asked.method, repr(solver), *([] if guidance is None else [str(guidance)])]
    return ", ".join([*parts, f"{counted(drawn.nfe, 'evaluation')} each"]), drawn


def _given(
    asked: Restoration, target: Target, guidance: Guidance | None, problem: Problem
) -> Target:
    """The target given the observation of each draw, and guided around that."""
    observed = problem.observed.repeat_interleave(asked.draws, 0)

    def given(field: AffineField) -> AffineField:
        method = cast(Method, asked.method)
        return conditioned(field, problem.operator, observed, problem.noise, method)

    if guidance is None:
        return replace(target, field=given(affine(target)))
    return guidance.of(target, given)


def _by_particles(
    asked: Restoration, target: Target, guidance: Guidance | None, problem: Problem
) -> tuple[str, Solution]:
    """The same by twisted SMC, one run of it for each observation."""
    particles = max(asked.particles or PARTICLES, asked.draws)
    target = target if guidance is None else guidance.of(target)
    field, label, parts = affine(target), _label(asked, target, guidance), []
    if not is_normal(field.noise):
        raise TypeError(
            f"got --method smc for a field of {field.noise} noise; it weighs particles by normal "
            "steps: take --method pigdm, or tmpd"
        )
    with progress_bar("restore", len(problem.observed)) as bar:
        for i, observed in enumerate(problem.observed):

            def show(step: int, done: int = i) -> None:
                bar.advance(done, f"step {step}")

            with warnings.catch_warnings(action="ignore", category=DegeneracyWarning):
                part = twisted(
                    field,
                    problem.operator,
                    observed,
                    problem.noise,
                    asked.draws,
                    particles,
                    asked.nfe,
                    asked.steps,
                    (asked.seed + i) % 2**64,
                    label,
                    grid=asked.grid,
                    batch=BATCH,
                    progress=show,
                )
            parts.append(part)
        bar.advance(len(parts))
    least = float(torch.cat([part.ess[-1] for part in parts]).min())
    warn(_few(least, particles, problem.noise))
    how = ["smc", f"{particles} particles", *([] if guidance is None else [str(guidance)])]
    each = f"{counted(parts[0].nfe, 'evaluation')} each"
    return ", ".join([*how, each]), concatenated(parts)


def _few(least: float, particles: int, noise: float) -> str:
    """What to say, once for all observations, where few particles carry all the weight."""
    if not degenerate(least, particles):
        return ""
    return (
        f"the {particles} particles of an observation count for {least:.1f} in the end, so that "
        f"its draws may be equal or off; give a larger --noise than {noise:.3g}, more --nfe, or "
        "more --particles"
    )


def _label(asked: Restoration, target: Target, guidance: Guidance | None) -> int | None:
    """The class that all points are of, if one was named."""
    require_labels(target, guidance, asked.label is not None, "give --label")
    _, y = classes_to_draw(asked.label, None, None, target)
    found = [] if y is None else sorted(set(y.tolist()))
    if len(found) > 1:
        raise ValueError(f"got --label {asked.label}; wanted one class, which all points are of")
    return found[0] if found else None


def _picture(path: Path, *, target: Target, problem: Problem, x: Tensor, title: str) -> object:
    """A column for each observation of images, or a colour for each in a scatter of points."""
    units = partial(model_units, scaling=target.field.scaling)
    draws, event = units(x.flatten(0, 1).cpu()).view(x.shape), x.shape[2:]
    if not is_image(tuple(event)):
        y = torch.arange(len(x)).repeat_interleave(x.shape[1])
        return samples_picture(draws.flatten(0, 1), path, title=title, y=y, called="draws")
    original = None if problem.original is None else units(problem.original)
    return restored_picture(draws, path, _as_images(problem, units), original, title)


def _as_images(problem: Problem, units: Callable[[Tensor], Tensor]) -> Tensor | None:
    """What was observed as images, NaN where nothing was; None where it is none."""
    operator, y = problem.operator.cpu(), problem.observed
    if operator.name == "mask":
        seen = operator.adjoint(torch.ones_like(y[:1])) > 0
        return units(operator.adjoint(y)).where(seen, math.nan)
    return units(y) if shows(operator.observed_shape, operator.event_shape) else None


def _misfit(problem: Problem, x: Tensor) -> float:
    """How far draws (B, K, *event) are from their observations, in units of the noise."""
    seen = problem.operator.cpu()(x.flatten(0, 1).cpu()).view(
        *x.shape[:2], *problem.observed.shape[1:]
    )
    return _rms(seen - problem.observed[:, None]) / problem.noise


def _missed(misfit: float, asked: Restoration, problem: Problem) -> str:
    """What to do where draws miss the observations: of all that helps what is not so already."""
    if misfit <= FAR:
        return ""
    given = problem.original is None  # else they were made here, in the units of the data
    units = "see that the observations are in the units of the data, and " if given else ""
    more = "more --particles, " if asked.method == "smc" else ""
    more += "" if asked.solver in (None, SOLVER) else f"--solver {SOLVER}, "
    return (
        f"the draws are off the observations by {misfit:.3g} times the noise, exact draws by 1; "
        f"{units}give more --nfe, {more}or a larger --noise"
    )


def _figures(problem: Problem, x: Tensor, field: AffineField, misfit: float) -> str:
    """How well draws (B, K, *event) fit the observations, and the originals where they are known.

    Exact draws lie as far from the observation as the original does: the noise, on average. Of
    the originals the unit is the data's standard deviation, of columns each column's own.
    """
    said = f"y - H x of the draws is {misfit:.3g} times the noise (rms; 1 for exact draws)"
    if problem.original is None:
        return said
    u = model_units(x.flatten(0, 1).cpu(), field.scaling).view(x.shape)
    gaps = (u - model_units(problem.original, field.scaling)[:, None]) / field.moments[1]
    off = f"draws {_rms(gaps):.3g}, mean {_rms(gaps.mean(1)):.3g} standard deviations of the data"
    return f"{said}; off the originals: {off}"


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())
