r"""What a picture shows: a field, the data beside it, and what was asked of both.

Everything is drawn in the units of the model. Where noise is large, a view of the data shows
nothing; so states at time t are drawn in a view that is :math:`\sqrt{\alpha^2 + \sigma^2 / s^2}`
times as wide as that of the data, s the data's standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffode.data.rows import some_rows
from diffode.data.scaling import model_units
from diffode.data.source import Samples
from diffode.doors import needs_labels
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.corruption import Corrupting
from diffode.fields.generated import Generated
from diffode.sampling.drawing import sample
from diffode.solvers import Solution
from diffode.solvers.status import refusal
from diffode.viz import canvas
from diffode.viz.clocks import factor
from diffode.viz.images import is_image
from diffode.viz.plane import Plane, plane_of
from diffode.viz.trajectories import view_scale

BEHIND = 5000  # rows of the data that are drawn behind
BATCH = 4096
MODEL = "units of the model"  # u = (x - b) / w, see `diffode.data.scaling`


class View(NamedTuple):
    """A square on the plane: its centre, half its width, and the factor of the data there."""

    centre: Tensor
    half: float
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is drawn.

    Attributes:
        field: the field.
        title: what it is called.
        data: points (M, *event) in the field's units, drawn behind; None for none.
        data_labels: their classes (M,), or None.
        names: what the classes are called.
        samples: how many are drawn; None is as many as suit the kind.
        seed: of the samples.
        y: labels that samples are drawn with, (samples,), or None.
        times: in the field's own clock; None chooses them.
        axes: coordinates that are drawn of points with more than two; None is principal axes.
        dark: light on dark.
        form: png, svg or pdf.
        moves: ``solver``, ``nfe``, ``steps`` and ``grid`` of `diffode.sample`.
        seen: what turns states into images, where they are latents.
        losses: steps and losses by phase, of a run that logged them.
        progress: called with how many samples are done, and of how many.
    """

    field: Field
    title: str
    data: Samples | None = None
    data_labels: Tensor | None = None
    names: Sequence[str] = ()
    samples: int | None = None
    seed: int = 0
    y: Tensor | None = None
    times: Sequence[float] | None = None
    axes: tuple[int, ...] | None = None
    dark: bool = False
    form: str = "png"
    moves: Mapping[str, Any] = field(default_factory=dict)
    seen: Callable[[Tensor], Tensor] | None = None
    losses: Mapping[str, tuple[list[int], list[float]]] | None = None
    progress: Callable[[int, int], None] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return tuple(self.field.event_shape)

    @property
    def size(self) -> int:
        """How many numbers a point has."""
        return math.prod(self.shape)

    @property
    def images(self) -> bool:
        """Whether points are drawn as images."""
        return self.seen is not None or is_image(self.shape)

    @cached_property
    def behind(self) -> Tensor | None:
        """Some of the data (M, N), float64."""
        if self.data is None:
            return None
        rows = some_rows(len(self.data), BEHIND)
        return self.data[rows].detach().cpu().double().flatten(1)

    @cached_property
    def plane(self) -> Plane:
        """The plane that points are drawn on."""
        known = self.behind
        if known is None and self.size > 2 and self.axes is None:
            known = replace(self, samples=1000, y=None, progress=None).ends().x.cpu().double()
            known = known.flatten(1)
        return plane_of(self.size, known, self.axes)

    def named(self, axis: int) -> str:
        """What an axis of the plane is called, with its units."""
        return self.plane.labels[axis] + ("" if self.field.scaling is None else f" ({MODEL})")

    @property
    def units(self) -> str:
        """What a note says of the units of panels whose axes have no names."""
        return "" if self.field.scaling is None else f"; {MODEL}"

    def count(self, usual: int) -> int:
        """How many samples are drawn."""
        if self.y is not None:
            return len(self.y)
        return usual if self.samples is None else self.samples

    def ends(self, usual: int = 1000) -> Solution:
        """Samples, in the field's units."""
        return self._drawn(usual, path=False)

    def flow(self, usual: int, steps: int | None = None) -> Solution:
        """Samples with all states on their way, in the field's units.

        Arguments:
            usual: how many, where no number is given.
            steps: of the solver, where neither these nor evaluations are given.

        Raises:
            ValueError: samples that are not finite.
        """
        return self._drawn(usual, path=True, steps=steps)

    def _drawn(self, usual: int, path: bool, steps: int | None = None) -> Solution:
        n, moves = self.count(usual), dict(self.moves)
        if needs_labels(self.field) and self.y is None:
            raise ValueError(f"{self.title} draws nothing without a label; give its class")
        free = self.field.sampling_defaults is None and not ({"nfe", "steps"} & set(moves))
        if steps is not None and free:  # a field with times of its own keeps them
            moves["steps"] = steps
        drawn = sample(
            self.field, n, seed=self.seed, y=self.y, batch=250 if self.images else BATCH,
            path=path, progress=self.telling(n), **moves,
        )  # fmt: skip
        if why := refusal(drawn.status, drawn.nfe_per_row, "samples"):
            raise ValueError(why)
        states = drawn.path
        x = model_units(drawn.x, self.field.scaling).cpu()
        if states is not None:
            states = model_units(states.flatten(0, 1), self.field.scaling).view_as(states).cpu()
        return replace(drawn, x=x, path=states)

    def telling(self, of: int) -> Callable[[int], None] | None:
        """What is called with the number of samples that are done."""
        progress = self.progress
        return None if progress is None else lambda done: progress(done, of)

    def view(self, t: float) -> View:
        """The view of states at a time: of nearly all the data, and as much wider as noise is."""
        known = self.behind
        if known is None:
            known = replace(self, samples=500, y=None, progress=None).ends().x.double().flatten(1)
        middle, half = canvas.box(self.plane.flat(known))
        alpha, scale = factor(self.field, t), float(self.scale(torch.tensor([t])))
        return View(alpha * middle, 1.25 * half * scale, alpha)

    def scale(self, times: Tensor) -> Tensor:
        """How many times as wide as that of the data a view is, shape (T,)."""
        if not isinstance(self.field, AffineField):
            return torch.ones(len(times), dtype=torch.float64)
        return view_scale(self.field, times.double())

    @property
    def label(self) -> int | None:
        """The one class that is asked for, where a kind draws a field and no samples.

        Raises:
            ValueError: several classes, or none where the field needs one.
        """
        if self.y is None:
            if needs_labels(self.field):
                raise ValueError(f"{self.title} has no velocity without a label; give its class")
            return None
        if len(kinds := set(self.y.tolist())) > 1:
            raise ValueError(f"got {len(kinds)} classes; this picture is of one field: give one")
        return int(self.y[0])

    def require_numbers(self, what: str) -> None:
        """Refuse a field of tokens, and coordinates that there are not.

        Arguments:
            what: draws it, for the message.

        Raises:
            ValueError: it is one, or there are none.
        """
        if self.axes is not None:
            _ = self.plane  # it refuses coordinates that there are not
        if isinstance(self.field, Corrupting):
            raise ValueError(
                f"{what} draws numbers, and {self.title} makes tokens; diffode sample writes "
                "them, and diffode plot --kind loss draws a run's loss"
            )

    def require_flow(self, what: str) -> None:
        """Refuse a field without a way from the prior to the data.

        Raises:
            ValueError: tokens, or a generator of one evaluation.
        """
        self.require_numbers(what)
        if isinstance(self.field, Generated):
            raise ValueError(
                f"{what} draws a flow, and {self.title} makes samples in one step; "
                "take diffode plot --kind samples"
            )

    def require_points(self, what: str, instead: str, most: int | None = None) -> None:
        """Refuse images, and points of more numbers than a kind can draw.

        Raises:
            ValueError: they are.
        """
        if self.images or (most is not None and self.size > most):
            made = "images" if self.images else f"points of {self.size} numbers"
            limit = "" if most is None else f" of {most} numbers at most"
            raise ValueError(
                f"{what} is for points{limit}, and {self.title} makes {made}; {instead}"
            )

    def require_few(self, count: int, most: int, called: str = "images") -> None:
        """Refuse more than a page has room for.

        Raises:
            ValueError: there are more.
        """
        if count > most:
            raise ValueError(
                f"got {count:,} {called}, and a page has room for {most}; ask for fewer by "
                "--label, --per-class or --samples"
            )
