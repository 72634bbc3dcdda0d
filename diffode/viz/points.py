"""Points as a picture: a scatter beside the training data, on principal axes where N > 2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffode.data.rows import some_rows
from diffode.viz import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 4000  # points drawn of each set
FITTED = 1000  # rows that principal axes are fitted to


def points_picture(
    x: Tensor, path: str | Path | None = None, reference: Tensor | None = None
) -> bytes:
    """The PNG of a scatter of points, beside one of the reference in the same view.

    Points of more than two coordinates are shown on the first two principal axes (of the
        reference, if given), points of one coordinate as a histogram.

    Arguments:
        x: samples, shape (B, *event); 4,000 of them are drawn, chosen at random.
        path: where to write.
        reference: training data, shape (M, *event); 4,000 of them are drawn.

    Raises:
        ValueError: no samples, or a reference that does not fit them.
    """
    if x.ndim < 2 or not x.numel():
        raise ValueError(f"got x of shape {tuple(x.shape)}; wanted samples (B, *event)")
    if reference is not None and (reference.shape[1:] != x.shape[1:] or not len(reference)):
        raise ValueError(
            f"got a reference of shape {tuple(reference.shape)} for samples of shape "
            f"{tuple(x.shape)}; they must agree but for the count"
        )
    sets = [("samples", _rows(x), canvas.ORANGE)]
    if reference is not None:
        sets.insert(0, ("training data", _rows(reference), canvas.BLUE))
    known = sets[0][1]  # the set that axes and view are fitted to
    known = known[known.isfinite().all(1)]
    labels = ("", "")
    if x[0].numel() > 2:
        mean, axes, shares = principal_axes(known)
        sets = [(name, (points - mean) @ axes.T, colour) for name, points, colour in sets]
        known = (known - mean) @ axes.T
        labels = (
            f"first principal axis, {shares[0]:.0%} of the variance",
            f"second, {shares[1]:.0%}",
        )
    middle, half = canvas.box(known)
    drawn = canvas.figure(480 * len(sets), 540)
    drawn.set_layout_engine("constrained")
    row = drawn.subplots(1, len(sets), squeeze=False, sharex=True, sharey=True)[0]
    for ax, (name, points, colour) in zip(row, sets, strict=True):
        outside = int((~((points - middle).abs() <= half).all(1)).sum())
        title = f"{name}, {len(points):,}" + (f" ({outside:,} outside)" if outside else "")
        if points.shape[1] == 1:
            _line(ax, points, colour, float(middle), half)
        else:
            canvas.plane(ax, middle, half)
            size = 40 * len(points) ** -0.3
            ax.scatter(*points.T.numpy(), s=size, color=colour, alpha=0.6, linewidths=0)
            ax.set_xlabel(labels[0], color=canvas.GREY)
            ax.set_ylabel(labels[1], color=canvas.GREY)
        ax.set_title(title, color=canvas.INK)
    return canvas.save(drawn, path)


def _line(ax: Axes, points: Tensor, colour: str, middle: float, half: float) -> None:
    """The shares of points on a line, shape (n, 1), in 60 bins."""
    span = (middle - half, middle + half)
    share = np.full(len(points), 1 / len(points))
    values = points[:, 0].numpy()
    ax.hist(values, 60, range=span, weights=share, color=colour, histtype="stepfilled")
    ax.set(xlim=span, yticks=[])


def principal_axes(x: Tensor) -> tuple[Tensor, Tensor, list[float]]:
    """The mean (N,), two principal axes (2, N) and their shares of the variance, of x (M, N)."""
    some = x[some_rows(len(x), FITTED)]
    mean = some.mean(0) if len(some) else x.new_zeros(x.shape[1])
    padded = torch.cat((some - mean, x.new_zeros(2, x.shape[1])))  # two axes even of one row
    _, scales, axes = torch.linalg.svd(padded, full_matrices=False)
    variances = scales.square()
    return mean, axes[:2], (variances / variances.sum().clamp_min(1e-300))[:2].tolist()


def _rows(x: Tensor) -> Tensor:
    return x[some_rows(len(x), MOST).to(x.device)].detach().cpu().double().flatten(1)
