"""Whether the numbers of a file are of the size that the data of a run have."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffode.cli.outcome import warn
from diffode.data.points import read_array, read_points
from diffode.data.scaling import data_units
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.linear import LinearOperator
from diffode.runs.targets import Target

TIMES = 10  # as large or as small as the data, from where on points are doubted
CHANCE = 1e-3  # that normal data are doubted for being small


def points_in(path: Path, target: Target) -> tuple[Tensor, Tensor | None]:
    """The points of a file in the units of a field's data, and their labels, if any.

    Raises:
        ValueError: points that do not fit the field, or the latents that `diffode encode` writes.
    """
    field = target.field
    if read_array(path, "field") is not None:
        raise ValueError(
            f"{path} has latents, as diffode encode writes them; this takes points: give those "
            "that diffode decode makes of them"
        )
    x, y = read_points(path, field.event_shape, target.known_labels, field.scaling)
    warn(unlike(path, x, field))
    return x, y


def unlike(
    path: Path, x: Tensor, field: Field, operator: LinearOperator | None = None, noise: float = 0.0
) -> str:
    r"""What to say of points that are ten times as large as a field's data, or a tenth of them.

    The size r is the root mean square of x over what it is expected to be, with the mean m and the
    standard deviation s of the data, :math:`\sqrt{(H m)^2 + (H s)^2 + s_y^2}`. A few numbers may
    all lie near 0 by chance: k independent normal ones are of size r or less with a probability
    of :math:`P(\chi^2_k \le k r^2)` at most, which m = 0 has. Only where this is 1/1000 or less
    is r small: from 0.0013 down for one number, 0.032 for two, 0.09 for three, and a tenth for
    four or more.

    Arguments:
        path, x: the file, and its points or what was observed of them, in the units of the data.
        field: what was trained on the data.
        operator: H, of which every observed number is a mean of gray levels; None is the identity.
        noise: s_y.
    """
    expected = _expected(field)
    if expected is None:
        return ""
    mean, std = expected if operator is None else map(operator, expected)
    ratio = x.to(mean).square() / (mean.square() + std.square() + noise**2)
    size = float(ratio.mean().sqrt())
    half = torch.tensor(x.numel() / 2, dtype=torch.float64)
    by_chance = float(torch.special.gammainc(half, half * size**2)) > CHANCE
    if size <= TIMES and (size >= 1 / TIMES or by_chance):
        return ""
    usual = f"about {float(mean.mean()):.3g}, give or take {float(std.mean()):.3g}"
    return (
        f"the points in {path} lie between {float(x.min()):.3g} and {float(x.max()):.3g}, and are "
        f"{size:.2g} times as large as this run's data (rms); it takes them in the units of its "
        f"data, {field.scaling or usual}; see that they are in those"
    )


def _expected(field: Field) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation of the data in their units, (1, *event), float64, if known."""
    one = torch.ones(1, *field.event_shape, dtype=torch.float64)
    if isinstance(field, AffineField):
        centre, std = field.moments
        mean = one * centre.cpu()
    elif field.scaling is not None:
        mean, std = 0 * one, 1.0
    else:
        return None
    width = std if field.scaling is None else std * field.scaling.width
    return data_units(mean, field.scaling).double(), one * width
