"""Field lines: where the velocity leads, at several times and across them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.schedules import Karras
from diffode.priors import is_student
from diffode.viz.clocks import times_of, when
from diffode.viz.marks import behind, square
from diffode.viz.scene import Scene
from diffode.viz.sections import mesh, velocities
from diffode.viz.text import SIGMA
from diffode.viz.theme import HEAD, WIDTH, Page, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS, SIDE, SLICES = 3, 40, 60


def draw(scene: Scene) -> bytes:
    r"""Lines along the velocity, towards the data.

    The first panel of a field whose clock is the noise, :math:`t = \sigma`, is a half-plane: one
    coordinate x of the data and :math:`z = \sigma` (of a Poisson flow :math:`z = \sigma \sqrt D`,
    the added dimension), with the other coordinates at the data's mean. For data of one number it
    is the whole picture, and the lines are the flow's own. The other panels hold the time.
    """
    scene.require_flow("--kind field-lines")
    scene.require_points("--kind field-lines", "--kind section draws a cut through the field")
    times = times_of(scene.field, PANELS, scene.times).tolist()
    known = scene.behind if scene.behind is not None else scene.ends().x.double().flatten(1)
    flat, line = scene.plane.flat(known), len(scene.plane.axes) == 1
    above = line or _is_high(scene)
    across = 1 if line else len(times) + above
    height = 900 if line else HEAD + 130 + WIDTH // max(2, across)
    held = "" if scene.plane.whole else ", on a plane through the mean of the data"
    note = f"lines along the velocity, towards the data{held}"
    with page(scene.title, note + scene.units, height=height, dark=scene.dark) as made:
        row = made.panels(1, across)
        if above:
            _upwards(scene, made, row[0], flat)
        for axes, t in zip(row[above:], [] if line else times, strict=True):
            _at(scene, made, axes, flat, t)
        return made.bytes(scene.form)


def _is_high(scene: Scene) -> bool:
    """Whether the field's clock is the noise itself, so that it is a height above the data."""
    return isinstance(scene.field, AffineField) and isinstance(scene.field.schedule, Karras)


def _root(scene: Scene) -> float | None:
    """The square root of D, where the noise is Student's with D degrees of freedom."""
    noise = scene.field.noise if isinstance(scene.field, AffineField) else None
    return float(noise.dof) ** 0.5 if is_student(noise) else None


def _levels(scene: Scene, half: float) -> Tensor:
    """The times from the data's end of the picture to the prior's."""
    start, end = scene.field.span
    if _is_high(scene):
        start = min(start, 1.6 * half / (_root(scene) or 1.0))
        end = max(end, start / 400)
    return torch.linspace(end, start, SLICES, dtype=torch.float64)


def _upwards(scene: Scene, made: Page, axes: Axes, flat: Tensor) -> None:
    """The half-plane of the first coordinate and the time, or the height above the data."""
    view, high, root = scene.view(scene.field.span[1]), _is_high(scene), _root(scene)
    levels, low = _levels(scene, view.half), float(view.centre[0]) - view.half
    x = torch.linspace(low, low + 2 * view.half, SLICES, dtype=torch.float64)
    place = view.centre.expand(SLICES, -1).clone()
    place[:, 0] = x
    points = scene.plane.points(place)
    rates = [scene.plane.along(velocities(scene, points, t))[:, 0] for t in levels.tolist()]
    wide = root if high and root else 1.0  # of the height z that a unit of the clock is
    z = levels * wide if high else (levels - levels[0]).abs()
    to_data = 1.0 if scene.field.span[1] > scene.field.span[0] else -1.0
    slope = to_data * torch.stack(rates)  # the change of x as the height falls by wide
    axes.streamplot(
        x.numpy(), z.numpy(), slope.numpy(), torch.full_like(slope, -wide).numpy(),
        color=made.theme.lines, density=1.3, linewidth=1.3, arrowsize=1.4,
    )  # fmt: skip
    dots = flat[: min(len(flat), 800), 0].numpy()
    axes.plot(dots, [float(z[0])] * len(dots), "o", color=made.theme.accent, ms=5, alpha=0.5,
              clip_on=False, zorder=4)  # fmt: skip
    axes.set(xlim=(low, low + 2 * view.half), ylim=(float(z[0]), float(z[-1])))
    axes.set_xlabel(scene.plane.labels[0])
    axes.locator_params(nbins=4)
    name = f"z = {SIGMA}√D" if root else SIGMA
    axes.set_ylabel(name if high else "time before the data")
    axes.set_title("above the data" if high else "across time")


def _at(scene: Scene, made: Page, axes: Axes, flat: Tensor, t: float) -> None:
    """The velocity of one time on the plane, in the view that suits that time."""
    view = scene.view(t)
    grid = mesh(view.centre, view.half, SIDE)
    points = scene.plane.points(grid, 1.0 if scene.plane.whole else view.alpha)
    to_data = 1.0 if scene.field.span[1] > scene.field.span[0] else -1.0
    v = to_data * scene.plane.along(velocities(scene, points, t))
    u, w = v.view(SIDE, SIDE, 2).unbind(-1)
    speed = (u.square() + w.square()).sqrt()
    width = (0.5 + 2.0 * speed / speed.max().clamp_min(1e-12)).numpy()
    behind(axes, made.theme, view.alpha * flat)
    a, b = grid[:SIDE, 0].numpy(), grid[::SIDE, 1].numpy()
    axes.streamplot(a, b, u.numpy(), w.numpy(), color=made.theme.lines, linewidth=width,
                    density=1.1, arrowsize=1.2)  # fmt: skip
    square(axes, view)
    axes.set_title(when(scene.field, t))
