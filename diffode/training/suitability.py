r"""Whether data and schedule suit each other, looked at before a training starts.

**The noise must hide the data at t_prior.** A flow starts from a spherical prior, so what the path
still shows of the data there is lost, and proportions come out wrong. The measure is the *signal*

.. math:: \frac{\alpha \, s_1}{\sigma} \quad \text{at } t_{prior},

with :math:`s_1` the data's largest principal standard deviation about the centre of the prior: it
is one wide direction that decides, and the rms over all coordinates hides it where there are many.
Two far blobs of shares .25 and .75 are drawn, by the exact flow of any noise law, with shares .249
at a signal of .1, .241 at .3, .228 at .5, .18 at 1 and .09 at 2; a share of .10 becomes .090 at
.3 and .031 at 1. A prior as wide as the path is there, :math:`\sqrt{\alpha^2 s^2 + \sigma^2}`,
changes nothing at the signals of the recipes here (.01 to .05) and cannot mend a large one: the
prior is a sphere, and the path no longer is. So the schedule is what must change.

**The data must be of order 1**, since noise levels and learning rates are made for that, in all
columns of vectors, and their mean not so far off that single precision loses their digits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.data.scaling import FAR
from diffode.data.source import CHUNK, Samples, require_finite, width
from diffode.data.units import LARGEST, SMALLEST, UNEQUAL
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.corruption import Corrupting
from diffode.training.objective import Objective, Withdrawn
from diffode.warned import warn

WARNED, REFUSED = 0.3, 1.0  # signals at t_prior
_TOO_FAR = 10 * FAR  # mean over standard deviation: 12 % of it are rounding
_ROWS, _FEWEST = 1000, 16


def spaced(x: Samples, count: int) -> Tensor:
    """Rows of x that are evenly spaced: all up to ``count``, else less than twice as many.

    Of wide events there are fewer, so that they fit in memory.

    Raises:
        ValueError: a value that is not finite.
    """
    count = min(count, max(_FEWEST, CHUNK // width(x)))
    return require_finite(x[:: max(1, len(x) // count)])


def widest(x: Samples, centre: Tensor) -> float:
    """The root mean square of x (M, *event) about a centre, in the direction where it is largest.

    It is measured on fewer than 2,000 rows, see `spaced`.
    """
    u = (spaced(x, _ROWS).double().cpu() - centre.double().cpu()).flatten(1)
    square = u.T @ u if u.shape[1] <= len(u) else u @ u.T
    return float(torch.linalg.eigvalsh(square / len(u))[-1].clamp_min(0).sqrt())


def signal(field: Field, x: Samples) -> float | None:
    """The signal alpha s_1 / sigma that a path keeps of data x at t_prior; None without a path."""
    if not isinstance(field, AffineField):
        return None
    t = torch.tensor(field.span[0], dtype=torch.float64)
    alpha, sigma = float(field.schedule.alpha(t)), float(field.schedule.sigma(t))
    return alpha * widest(x, field.moments[0]) / sigma


def remarks(objective: Objective, x: Samples, y: Tensor | None = None) -> list[str]:
    """What is doubtful about training an objective on data: often nothing.

    Arguments:
        objective: what is to be trained.
        x: samples, shape (M, *event).
        y: their labels, shape (M,).

    Raises:
        ValueError: data or a schedule with which training is no use.
    """
    if isinstance(objective, Withdrawn):
        raise ValueError(objective.reason)
    classes = None if objective.spec is None else objective.spec.classes
    doubts: list[str] = []
    if not isinstance(objective.field, Corrupting):  # whose states need no scale
        doubts = [*_of_scale(x), *_of_signal(objective.field, x)]
    return doubts if y is None or not classes else [*doubts, *_of_labels(y, classes)]


def warn_of(objective: Objective, x: Samples, y: Tensor | None, resumed: bool) -> None:
    """Warn of what is doubtful; a training that was begun goes on as it is.

    Raises:
        ValueError: data or a schedule with which a new training is no use.
    """
    try:
        said = remarks(objective, x, y)
    except ValueError as error:
        if not resumed or isinstance(objective, Withdrawn):
            raise
        said = [str(error)]
    for remark in said:
        warn(remark)


def _of_signal(field: Field, x: Samples) -> list[str]:
    kept = signal(field, x)
    if kept is None or kept < WARNED:
        return []
    assert isinstance(field, AffineField)
    wide = widest(x, field.moments[0])
    said = (
        f"the schedule ends before the noise hides the data: at t_prior the widest direction's "
        f"alpha s / sigma is {kept:.2g}, so proportions come out wrong; go on to sigma / alpha of "
        f"{wide / WARNED:.2g} or more (sigma_max, beta_max, timesteps), or scale the data down"
    )
    if kept >= REFUSED:
        raise ValueError(said)
    return [said]


def _of_scale(x: Samples) -> list[str]:
    """What is doubtful about the data's standard deviations and means."""
    flat = spaced(x, 10 * _ROWS).flatten(1).double()
    mean, std = flat.mean(0), flat.std(0, correction=0)
    rms = float(std.square().mean().sqrt())
    vary = flat.amax(0) > flat.amin(0)
    if not rms > 0 or not math.isfinite(rms):
        return []  # others refuse these
    mean, std = mean[vary], std[vary]
    is_image = len(x.shape) > 2
    if is_image:
        std = torch.full_like(mean, rms)
    return [*_of_spread(std, rms, "channel" if is_image else "column"), *_of_offset(mean, std)]


def _of_spread(std: Tensor, rms: float, kind: str) -> list[str]:
    """Data must be of order 1, in all columns."""
    unequal = float(std.max() / std.min()) >= UNEQUAL
    spread = f"standard deviations from {float(std.min()):.3g} to {float(std.max()):.3g}"
    each = (
        f"standardise each {kind}, (x - mean) / std, as --scale standard does; of a constant one "
        "subtract the mean alone"
    )
    if not SMALLEST < rms < LARGEST:
        has = f"columns of {spread}" if unequal else f"standard deviation {rms:.3g}"
        raise ValueError(
            f"the data has {has}; the noise levels here are made for data of order 1: {each}"
        )
    if not unequal:
        return []
    return [f"the data has columns of {spread}; the narrow ones will be coarse: {each}"]


def _of_offset(mean: Tensor, std: Tensor) -> list[str]:
    """Single precision must keep the digits of data far from 0."""
    ratio, worst = (mean.abs() / std).max(0)
    if ratio < FAR:
        return []
    said = (
        f"the data has values about {float(mean[worst]):.7g} of standard deviation "
        f"{float(std[worst]):.3g}, of which single precision rounds "
        f"{float(ratio) * 2**-23:.1%} away; subtract the mean, in float64, before anything"
    )
    if ratio >= _TOO_FAR:
        raise ValueError(said)
    return [said]


def _of_labels(y: Tensor, classes: int) -> list[str]:
    missing = (torch.bincount(y.long().cpu(), minlength=classes) == 0).nonzero().flatten().tolist()
    if not missing:
        return []
    shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    return [
        f"no sample has label {shown} of 0 to {classes - 1}; what is drawn for it means nothing"
    ]
