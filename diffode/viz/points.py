"""Points as a picture: a scatter over the training data, on principal axes where N > 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffode.data.rows import some_rows
from diffode.data.source import Samples
from diffode.inputs import brief
from diffode.viz import canvas
from diffode.viz.text import class_name, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASSES = 12  # that have a colour of their own, at most
MOST = 4000  # points of the training data that are drawn, at most
SAMPLES = 100_000  # samples that are drawn, at most
FITTED = 1000  # rows that principal axes are fitted to


class _Set(NamedTuple):
    """Points under their name: rows (n, N), in one colour or one for each."""

    name: str
    points: Tensor
    colour: str | list[str]


def points_picture(
    x: Tensor,
    path: str | Path | None = None,
    reference: Samples | None = None,
    title: str = "",
    y: Tensor | None = None,
    names: Sequence[str] = (),
    called: str = "samples",
) -> bytes:
    """The PNG of a scatter of points over the reference, which is light and behind.

    Points of more than two coordinates are shown on the first two principal axes (of the
    reference, if given), points of one coordinate as a histogram.

    Arguments:
        x: samples, shape (B, *event); all are drawn, and of more than 100,000 as many.
        path: where to write.
        reference: training data, shape (M, *event); 4,000 of them are drawn.
        title: above the picture.
        y: labels of the points, shape (B,): a colour for each class, of 12 classes at most.
        names: what the labels are called.
        called: what stands above them with their number.

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
    classes = [] if x[0].numel() == 1 else _classes(y)
    sets = [_Set(called, _rows(x, SAMPLES), _colours(y, classes, len(x)) or canvas.ORANGE)]
    if reference is not None:
        sets.insert(0, _Set("training data", _rows(reference, MOST), canvas.PALE))
    sets, known, labels = _in_the_plane(sets)
    middle, half = canvas.box(known)
    side = canvas.WIDTH
    lines = [brief(plain(line), side // 8) for line in title.splitlines()]
    drawn = canvas.figure(side, side + 60 + 22 * len(lines))
    drawn.set_layout_engine("constrained")
    if lines:
        drawn.suptitle("\n".join(lines), color=canvas.INK, fontsize="medium", parse_math=False)
    ax = drawn.subplots()
    for one in sets:
        _draw(ax, one, middle, half, labels)
    said = [f"{name}, {len(p):,}{_unseen(p, middle, half)}" for name, p, _ in reversed(sets)]
    ax.set_title(" over ".join(said), color=canvas.INK)
    if classes:
        _legend(drawn, classes, names)
    return canvas.save(drawn, path)


def _in_the_plane(sets: list[_Set]) -> tuple[list[_Set], Tensor, tuple[str, str]]:
    """The sets on at most two axes, the finite points of the first, and what the axes are called.

    Axes and view are fitted to the first set.
    """
    known = sets[0].points
    known = known[known.isfinite().all(1)]
    if known.shape[1] <= 2:
        return sets, known, ("", "")
    mean, axes, shares = principal_axes(known)
    first = f"first principal axis, {shares[0]:.0%} of the variance"
    flat = [one._replace(points=(one.points - mean) @ axes.T) for one in sets]
    return flat, (known - mean) @ axes.T, (first, f"second, {shares[1]:.0%}")


def _draw(ax: Axes, one: _Set, middle: Tensor, half: float, labels: tuple[str, str]) -> None:
    """One set in the view of all."""
    _, points, colour = one
    if points.shape[1] == 1 and isinstance(colour, str):
        _line(ax, points, colour, float(middle), half)
    else:
        canvas.plane(ax, middle, half)
        size = 40 * len(points) ** -0.3
        x, y = points.T.numpy()
        alpha = 1.0 if colour == canvas.PALE else 0.6
        ax.scatter(x, y, s=size, color=colour, alpha=alpha, linewidths=0)
        ax.set_xlabel(labels[0], color=canvas.GREY)
        ax.set_ylabel(labels[1], color=canvas.GREY)


def _unseen(points: Tensor, middle: Tensor, half: float) -> str:
    """How many points a view does not show, in brackets, if any."""
    finite = points.isfinite().all(1)
    outside = finite & ~((points - middle).abs() <= half).all(1)
    counts = {"not finite": int((~finite).sum()), "outside": int(outside.sum())}
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return f" ({said})" if said else ""


def _classes(y: Tensor | None) -> list[int]:
    """The classes of labels, where they are few enough to be told apart by colour."""
    classes = [] if y is None else sorted(set(y.tolist()))
    return classes if len(classes) <= CLASSES else []


def _hues(classes: Sequence[int]) -> list[str]:
    from matplotlib.colors import to_hex

    return [to_hex(c) for c in canvas.hues(np.arange(len(classes)) / max(1, len(classes)))]


def _colours(y: Tensor | None, classes: list[int], rows: int) -> list[str] | None:
    """The colour of each row that is drawn, by its class."""
    if y is None or not classes:
        return None
    hues = dict(zip(classes, _hues(classes), strict=True))
    return [hues[label] for label in y.cpu()[some_rows(rows, SAMPLES)].tolist()]


def _legend(drawn: Figure, classes: Sequence[int], names: Sequence[str]) -> None:
    """What the colours stand for, below the picture."""
    from matplotlib.lines import Line2D

    dots = [Line2D([], [], color=c, marker="o", linestyle="") for c in _hues(classes)]
    called = [class_name(label, names) for label in classes]
    place = {"loc": "outside lower center", "ncols": min(len(classes), 6), "frameon": False}
    legend = drawn.legend(dots, [f" {brief(name, 24)}" for name in called], **place)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _line(ax: Axes, points: Tensor, colour: str, middle: float, half: float) -> None:
    """The shares of points on a line, shape (n, 1), in 60 bins."""
    span = (middle - half, middle + half)
    share = np.full(len(points), 1 / len(points))
    values = points[:, 0].numpy()
    ax.hist(
        values, 60, range=span, weights=share, color=colour, histtype="stepfilled",
        alpha=1.0 if colour == canvas.PALE else 0.6,
    )  # fmt: skip
    ax.set(xlim=span, yticks=[])


def principal_axes(x: Tensor) -> tuple[Tensor, Tensor, list[float]]:
    """The mean (N,), two principal axes (2, N) and their shares of the variance, of x (M, N)."""
    some = x[some_rows(len(x), FITTED)]
    mean = some.mean(0) if len(some) else x.new_zeros(x.shape[1])
    padded = torch.cat((some - mean, x.new_zeros(2, x.shape[1])))  # two axes even of one row
    _, scales, axes = torch.linalg.svd(padded, full_matrices=False)
    variances = scales.square()
    return mean, axes[:2], (variances / variances.sum().clamp_min(1e-300))[:2].tolist()


def _rows(x: Samples, most: int) -> Tensor:
    return x[some_rows(len(x), most)].detach().cpu().double().flatten(1)
