"""A fitted grid: times, and perhaps weights, that serve one field, kept as JSON."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.base import Field, expand_like
from diffode.fields.wrapped import Wrapped
from diffode.files import write_text
from diffode.inputs import read_text
from diffode.options import problem
from diffode.rng import Rng
from diffode.solvers import stored_solver
from diffode.solvers.base import Solver
from diffode.solvers.multistep import Multistep
from diffode.solvers.scaled import Scaled

PROBES = 3  # points and times by which a field is known again


class FittedGrid(BaseModel):
    """Times, and perhaps weights, that serve one field.

    Attributes:
        times: from t_prior to t_data.
        solver, options: what they were fitted for.
        scales: factors of the multistep weights, a row for each step, or None.
        before, after: the distance to the ends of held-out flows, with the solver's own grid and
            with this one.
        probe: norms of the field's velocity at fixed points, by which it is known again.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal["diffode-grid-1"] = "diffode-grid-1"
    times: list[float]
    solver: str
    options: dict[str, Any] = {}
    scales: list[list[float]] | None = None
    before: float
    after: float
    probe: list[float]

    @model_validator(mode="after")
    def _whole(self) -> FittedGrid:
        gaps = [b - a for a, b in pairwise(self.times)]
        if not gaps or not all(math.isfinite(g) and g * gaps[0] > 0 for g in gaps):
            raise ValueError("got times that do not go from one end to the other")
        rows = [] if self.scales is None else self.scales
        if self.scales is not None and len(rows) != len(gaps):
            raise ValueError(f"got {len(rows)} rows of weights for {len(gaps)} steps")
        numbers = [*self.probe, *(v for row in rows for v in row)]
        if len(self.probe) != PROBES or not all(map(math.isfinite, numbers)):
            raise ValueError(f"got weights or probes that are not finite, or not {PROBES} probes")
        return self

    def make_solver(self) -> Solver:
        """The solver, with the fitted weights if there are any."""
        solver = stored_solver(self.solver, **self.options)
        if self.scales is None:
            return solver
        if not isinstance(solver, Multistep):
            raise ValueError(f"got weights for {self.solver}, which is not a multistep method")
        return Scaled(solver, self.scales)

    def check_solver(self, solver: Solver) -> None:
        """Refuse a solver that this grid was not fitted for.

        Raises:
            ValueError: it is another one, or has other options.
        """
        own = stored_solver(self.solver, **self.options)
        if type(solver) is not type(own) or vars(solver) != vars(own):
            options = "".join(f", {k}={v}" for k, v in self.options.items())
            raise ValueError(
                f"this grid was fitted for {self.solver}{options}, not for another solver or "
                "other options; leave out the solver and its options"
            )

    def check(self, field: Field) -> None:
        """Refuse a field that this grid was not fitted to.

        Raises:
            ValueError: its span or its velocities at the probe points differ.
        """
        if isinstance(field, Wrapped) and (changes := field.changes()):
            raise ValueError(
                f"this grid was fitted to a field as it was trained, not to one with "
                f"{', '.join(changes)}; name a kind of grid"
            )
        probe, own = torch.tensor(probe_of(field)), torch.tensor(self.probe)
        same = (self.times[0], self.times[-1]) == tuple(field.span)
        if not same or not torch.allclose(probe, own, rtol=1e-3):
            raise ValueError(
                "this grid was fitted to another field (its velocities differ); fit one to this "
                "field, or name a kind of grid"
            )

    def save(self, path: Path | str) -> Path:
        """Write the grid as JSON."""
        path = Path(path)
        write_text(path, self.model_dump_json(indent=1) + "\n")
        return path


def read_grid(path: Path | str) -> FittedGrid:
    """Read a fitted grid.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file does not hold one.
    """
    try:
        return FittedGrid.model_validate_json(read_text(path))
    except ValidationError as error:
        broken = any(e["type"] == "json_invalid" for e in error.errors())
        said = "it is no JSON" if broken else problem(error)
        raise ValueError(
            f"{path} is no fitted grid: {said}; make one with diffode fit-grid"
        ) from None


@torch.no_grad()
def probe_of(field: Field, y: Tensor | None = None) -> list[float]:
    """Norms of the velocity at three points and times that the span and the shape decide."""
    first, last = field.span
    x = Rng(20).normal("fit/probe", (PROBES, *field.event_shape), device=field.device)
    shares = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64, device=field.device)
    t = first + (last - first) * shares
    if isinstance(field, AffineField):
        x = expand_like(field.schedule.sigma(t), x) * x
    index = torch.arange(PROBES, device=field.device)
    norms: list[float] = field.rows(index).velocity(x, t, y).flatten(1).norm(dim=1).tolist()
    return norms
