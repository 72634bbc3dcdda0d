"""A fitted grid: times, and perhaps weights, that serve one field, kept as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from diffode.fields.base import AffineField, Field, right
from diffode.files import write_text
from diffode.rng import Rng
from diffode.solvers import get_solver
from diffode.solvers.base import Solver
from diffode.solvers.multistep import Multistep
from diffode.solvers.scaled import Scaled


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

    def make_solver(self) -> Solver:
        """The solver, with the fitted weights if there are any."""
        solver = get_solver(self.solver, **self.options)
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
        own = get_solver(self.solver, **self.options)
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
        probe, own = torch.tensor(fingerprint(field)), torch.tensor(self.probe)
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
        ValueError: the file does not hold one.
    """
    try:
        return FittedGrid.model_validate_json(Path(path).read_text())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(
            f"{path} is no fitted grid: {where}: {first['msg'].lower()}; make one with "
            "diffode fit-grid"
        ) from None


@torch.no_grad()
def fingerprint(field: Field) -> list[float]:
    """Norms of the velocity at three points and times that the span and the shape decide."""
    first, last = field.span
    x = Rng(20).normal("fit/probe", (3, *field.event_shape), device=field.device)
    shares = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64, device=field.device)
    t = first + (last - first) * shares
    if isinstance(field, AffineField):
        x = right(field.schedule.sigma(t), x) * x
    index = torch.arange(3, device=field.device)
    norms: list[float] = field.rows(index).velocity(x, t).flatten(1).norm(dim=1).tolist()
    return norms
