r"""Trajectories as a picture: lines from prior to data in the plane, strips of states for images.

Paths whose noise starts large, such as :math:`\sigma = 80`, leave any fixed view; `shown` divides
their states by :math:`\sqrt{\alpha^2 + \sigma^2 / s^2}`, which keeps the data's scale throughout.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffode.data.rows import some_rows
from diffode.fields import AffineField
from diffode.viz import canvas
from diffode.viz.images import image_grid, is_image
from diffode.viz.points import MOST

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def shown(field: AffineField, states: Tensor, times: Tensor) -> Tensor:
    r"""The states over :math:`\sqrt{\alpha^2 + \sigma^2 / s^2}`, s the spread of the field's data.

    Arguments:
        field: whose path it is.
        states: shape (T, B, *event).
        times: of the states, shape (T,).
    """
    scale = view_scale(field, times)
    return states / scale.to(states).view(-1, *[1] * (states.ndim - 1))


def view_scale(field: AffineField, times: Tensor) -> Tensor:
    r"""How many times as wide as the data states are, :math:`\sqrt{\alpha^2 + (\sigma / s)^2}`."""
    alpha, sigma = field.schedule.alpha(times), field.schedule.sigma(times)
    return (alpha.square() + (sigma / field.moments[1]).square()).sqrt()


def plot_lines(
    axes: Axes, states: Tensor, colours: NDArray[np.float64] | str, alpha: float = 0.6
) -> None:
    """Plot lines on axes, with a ring where each starts and a dot where it ends.

    Arguments:
        axes: matplotlib's.
        states: shape (T, B, 2).
        colours: one name, or RGB of each line, shape (B, 3).
        alpha: the opacity of the lines.
    """
    from matplotlib.collections import LineCollection

    lines = states.detach().cpu().double().movedim(0, 1).numpy()
    axes.add_collection(LineCollection(list(lines), colors=colours, linewidths=1.0, alpha=alpha))
    (x, y), (x_end, y_end) = lines[:, 0].T, lines[:, -1].T
    axes.scatter(x, y, s=14, facecolors="white", edgecolors=canvas.GREY, linewidths=0.7, zorder=2)
    axes.scatter(x_end, y_end, s=16, c=colours, edgecolors="white", linewidths=0.4, zorder=3)


def by_angle(points: Tensor) -> NDArray[np.float64]:
    """A colour for each point (B, 2), by its angle about their mean: RGB, shape (B, 3)."""
    x, y = (points - points.mean(0)).detach().cpu().double().unbind(1)
    return canvas.hues(torch.atan2(y, x).div(2 * torch.pi).numpy())


def plot_trajectories(
    states: Tensor,
    path: str | Path | None = None,
    reference: Tensor | None = None,
    title: str = "",
) -> bytes:
    """The PNG of trajectories in the plane, coloured by where they end.

    Arguments:
        states: where each point was at each time, shape (T, B, 2), T at least 2.
        path: where to write.
        reference: training data (M, 2), 4,000 of them drawn in grey underneath.
        title: above the picture.

    Raises:
        ValueError: states of another shape.
    """
    if states.ndim != 3 or states.shape[2] != 2 or len(states) < 2 or not states.numel():
        raise ValueError(
            f"got states of shape {tuple(states.shape)}; wanted (T, B, 2) with T >= 2; a sample's "
            "path is kept with sample(..., path=True)"
        )
    drawn = canvas.figure(720, 760 if title else 720)
    drawn.set_layout_engine("constrained")
    ends = states[[0, -1]].detach().cpu().double().flatten(0, 1)
    ax = canvas.plane(drawn.subplots(), *canvas.box(ends))
    if reference is not None:
        under = reference.detach().cpu()[some_rows(len(reference), MOST)]
        x, y = under.double().T.numpy()
        ax.scatter(x, y, s=6, color=canvas.PALE, linewidths=0)
    plot_lines(ax, states, by_angle(states[-1]))
    ax.set_title(title, color=canvas.INK)
    return canvas.save(drawn, path)


def strip(
    states: Tensor, path: str | Path | None = None, columns: int = 8, scale: int | None = None
) -> bytes:
    """The PNG of images on their way: a row for each sample, time from left to right.

    Arguments:
        states: the images at each time, shape (T, B, C, H, W).
        path: where to write.
        columns: how many of the times to show, evenly chosen, the first and last among them.
        scale: screen pixels per pixel; None enlarges small images.

    Raises:
        ValueError: states that are no images, or fewer than two columns.
    """
    if states.ndim != 5 or not is_image(tuple(states.shape[2:])) or columns < 2:
        raise ValueError(
            f"got states of shape {tuple(states.shape)} and columns={columns}; wanted images "
            "(T, B, 1 or 3, H, W) and at least 2 columns"
        )
    columns = min(columns, len(states))
    chosen = torch.linspace(0, len(states) - 1, columns).round().long()
    rows = states[chosen].transpose(0, 1).flatten(0, 1)
    return image_grid(rows, path, columns, scale)
