"""What the commands on inverse problems are given: observations, and what is known of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffode.cli.observing import operator_of
from diffode.cli.outcome import warn
from diffode.cli.restorations import Restoration
from diffode.cli.units import points_in, unlike
from diffode.data.points import read_points
from diffode.data.rows import some_rows
from diffode.data.scaling import data_units
from diffode.fields.affine import AffineField
from diffode.fields.linear import LinearOperator
from diffode.interop.pipelines import is_latent
from diffode.rng import Rng
from diffode.runs.targets import Target

SPLITS = ("test", "train")
POINTS = 8  # of a split, where no number is given
_KEEPS_UNITS = ("mask:", "downsample:", "blur:")  # operators that observe gray levels


@dataclass(frozen=True)
class Problem:
    """What was observed, all in the units of the data.

    Attributes:
        operator, noise: H, and the standard deviation of the noise.
        observed: shape (B, *observed).
        original: the points behind, (B, *event), or None.
        rows: which of the file's or the split's points they are, shape (B,).
        whole: how many of these there are.
    """

    operator: LinearOperator
    noise: float
    observed: Tensor
    original: Tensor | None
    rows: Tensor
    whole: int


def affine(target: Target) -> AffineField:
    """The field of a target, if it can be given an observation.

    Raises:
        TypeError: one that states no E[x_0 | x].
    """
    if not isinstance(target.field, AffineField):
        raise TypeError(
            f"the field of {target.name} is of type {type(target.field).__name__}; an observation "
            "changes E[x_0 | x], which affine fields have"
        )
    return target.field


def problem_of(asked: Restoration, target: Target, text: str, noise: float | None) -> Problem:
    """The problem that a command states.

    Arguments:
        asked: the command.
        target: whose points are observed.
        text: what names the operator.
        noise: the standard deviation of the noise; None is a hundredth of the data's.

    Raises:
        ValueError: observations, an operator or noise that do not fit.
        TypeError: a field that cannot be given observations.
    """
    field = affine(target)
    if is_latent(field):
        raise ValueError(
            f"{target.name} moves latents, of which pixels are no linear function: an observation "
            "of an image says nothing that restore and inpaint can use; give a field of images"
        )
    operator = operator_of(text, field.event_shape, asked.seed)
    std = _seen(field, operator) if text.startswith(_KEEPS_UNITS) else math.inf
    noise = std / 100 if noise is None else noise
    if not 0 < noise < math.inf:
        raise ValueError(
            f"got --noise {noise:g}; wanted a number above 0, a small one where there is none"
        )
    if noise > std:
        warn(f"the noise {noise:.3g} is larger than the data's standard deviation, {std:.3g}")
    if asked.degrade or asked.file in SPLITS:
        original, rows, whole = _whole_points(asked, target)
        e = Rng(asked.seed).normal("observation", (len(rows), *operator.observed_shape))
        observed = operator(original) + noise * e.to(original)
        return Problem(operator, noise, observed, original, rows, whole)
    file, hides = Path(asked.file), operator.name == "mask"
    shape = field.event_shape if hides else operator.observed_shape
    wanted = f"the operator {operator} is of points" if hides else f"{operator} observes numbers"
    y, _ = read_points(file, shape, None, field.scaling, wanted, finite=not hides)
    rows = torch.arange(min(len(y), asked.n or len(y)))
    seen = operator(y[rows]) if hides else y[rows]
    if not bool(seen.isfinite().all()):
        raise ValueError(f"{file}: got values that are NaN or infinite where the mask hides none")
    if text.startswith(_KEEPS_UNITS):
        warn(unlike(file, seen, field, operator, noise))
    return Problem(operator, noise, seen, None, rows, len(y))


def _whole_points(asked: Restoration, target: Target) -> tuple[Tensor, Tensor, int]:
    """Points (B, *event) in the units of the data, which of all they are, and the count of all."""
    if asked.file not in SPLITS:
        x, _ = points_in(Path(asked.file), target)
        rows = torch.arange(min(len(x), asked.n or len(x)))
        return x[rows], rows, len(x)
    if target.plan is None:
        raise ValueError(
            f"{target.name} is no run, so it has no {asked.file} data; give a file, and --degrade "
            "if it has whole points"
        )
    data = target.dataset()
    parts = {"test": (data.test, data.test_labels), "train": (data.train, data.train_labels)}
    points, labels = parts[asked.file]
    rows = some_rows(len(points), asked.n or POINTS, labels, asked.seed)
    return data_units(points[rows], data.scaling), rows, len(points)


def _seen(field: AffineField, operator: LinearOperator) -> float:
    """The standard deviation of the data that are seen, in their units.

    Of columns in units of their own it is that of the narrowest.
    """
    one = torch.ones(1, *field.event_shape, dtype=torch.float64)
    width = one if field.scaling is None else one * field.scaling.width
    return field.moments[1] * float(operator(width).min())
