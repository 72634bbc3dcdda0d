r"""Test beds for solvers: exact fields, start points and reference end points.

Every bed is scored in y = x / alpha against rho = sigma / alpha, in which each affine flow is the
one ODE dy/drho = E[n | y, rho]; beds on different schedules compare there. The reference is
solved in the angle theta = atan2(sigma, alpha s), which is finite where alpha is 0, and kept on
disk.

    from benchmarks.beds import bed, beds, reference, score
    b = bed("2d/edm")
    score(b, y, rho_end=0.0)
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from benchmarks.laws import LAWS, DiagonalMixture, Law
from diffode.fields import VP, Karras, Mixture, PoissonField, Rectified
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.schedules import Schedule
from diffode.priors import Normal, StudentT
from diffode.rng import Rng

CACHE = Path(__file__).parents[1] / "runs" / "beds"
ROWS, FRESH_ROWS = 512, 1024


@dataclass(frozen=True, eq=False)
class Bed:
    """An exact field and the points that solvers move along it.

    Attributes:
        name: family and schedule, such as "64d/vp".
        field: the exact field, float64; a Poisson field is bound to its rows.
        law: the mixture that it is the field of; None for a network's.
        x: the points at t_prior, shape (B, *event), float64.
    """

    name: str
    field: AffineField
    law: Law | None
    x: Tensor

    @property
    def rho_data(self) -> float:
        """The noise-to-signal ratio at t_data."""
        return self.rho(self.field.span[1])

    def rho(self, t: float) -> float:
        """The noise-to-signal ratio at time t (infinite where alpha is 0)."""
        alpha, sigma = self.level(t)
        return sigma / alpha if alpha else math.inf

    def level(self, t: float) -> tuple[float, float]:
        """Alpha and sigma at time t."""
        alpha, sigma = self.field.level(t, self.x)
        return float(alpha), float(sigma)

    def y(self, x: Tensor, t: float) -> Tensor:
        """The state of the canonical ODE, x / alpha, shape (B, N)."""
        return x / self.level(t)[0]

    def canonical(self, y: Tensor, rho: float) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | y, rho] and E[n | y, rho], each (B, N)."""
        t = self.field.schedule.time(torch.tensor(rho, dtype=torch.float64))
        x = y * self.level(float(t))[0]
        field = self.field
        if isinstance(field, PoissonField) and field.q is not None:
            scale = field.q.double() / math.sqrt(field.dof)
            x0, n = field.inner.posterior(x, t * scale)
            return x0, n * expand_like(scale, n)
        return field.posterior(x, t)

    def component(self, y: Tensor) -> Tensor:
        """The index of the most responsible component of the data at each row, shape (B,)."""
        assert self.law is not None
        weights, means, stds = self.law
        z = (y[:, None] - means) / stds
        return (weights.log() - (z.square() / 2 + stds.log()).sum(2)).argmax(1)


class Score(NamedTuple):
    """Distances from the reference.

    Attributes:
        rmse: the root of the mean squared error over rows and coordinates.
        rmse_kept: the same over the rows that end in the reference's component.
        flips: the number of the other rows.
        median: the median over rows of the root of the mean squared error over coordinates.
    """

    rmse: float
    rmse_kept: float
    flips: int
    median: float


def errors(y: Tensor, ref: Tensor, flipped: Tensor | None = None) -> Score:
    """The distances of end points y from a reference, both (B, N); a row not finite counts 1e3."""
    square = (y.double() - ref).flatten(1).square().mean(1).nan_to_num(1e6, 1e6).clamp_max(1e6)
    if flipped is None:
        flipped = torch.zeros(len(y), dtype=torch.bool)
    kept = square[~flipped]
    rest = float(kept.mean().sqrt()) if len(kept) else math.inf
    return Score(
        float(square.mean().sqrt()), rest, int(flipped.sum()), float(square.sqrt().median())
    )


def score(bed: Bed, y: Tensor, rho_end: float | None = None) -> Score:
    """How far points y, shape (B, N), are from the bed's flow at rho_end (None: at t_data)."""
    ref = reference(bed, rho_end)
    return errors(y, ref, bed.component(y.double()) != bed.component(ref))


def reference(bed: Bed, rho_end: float | None = None) -> Tensor:
    """The state y at rho_end of the bed's own flow, from its start, shape (B, N), kept on disk.

    Arguments:
        bed: the bed.
        rho_end: any finite noise-to-signal ratio, 0 included; None is that of t_data.
    """
    if rho_end is None or abs(rho_end / bed.rho_data - 1) < 1e-10:
        rho_end = bed.rho_data
    path = CACHE / f"{bed.name.replace('/', '-')}-{_key(bed)}-{rho_end:.12g}.npz"
    if not path.exists():
        near = rho_end != bed.rho_data and rho_end < 1.1 * bed.rho_data
        y = _closing(bed, rho_end) if near else _solve(bed, rho_end)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, y=y.numpy())
        partial.replace(path)
    with np.load(path) as kept:
        return torch.from_numpy(kept["y"])


def _closing(bed: Bed, rho_end: float) -> Tensor:
    """The stretch about and below t_data, in the variable rho."""

    def slope(rho: Tensor, y: Tensor) -> Tensor:
        return bed.canonical(y, float(rho))[1]

    return integrate(slope, reference(bed), [bed.rho_data, rho_end])


def _key(bed: Bed) -> str:
    assert bed.law is not None
    digest = hashlib.sha256(repr((bed.field.schedule, bed.field.noise)).encode())
    q = getattr(bed.field, "q", None)
    for tensor in (*bed.law, bed.x, *([] if q is None else [q])):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _solve(bed: Bed, rho_end: float) -> Tensor:
    mean, std = bed.field.moments
    mean = mean.double()
    alpha, sigma = bed.level(bed.field.span[0])

    def slope(theta: Tensor, z: Tensor) -> Tensor:
        c, s = torch.cos(theta), torch.sin(theta)
        level = float(s / c) * std
        if level < 1e14:
            x0, n = bed.canonical(mean + z * std / c, level)
        else:  # alpha is 0, so that y is infinite; there x = z
            x0, n = bed.field.posterior(z, bed.field.span[0])
        return c * n - s * (x0 - mean) / std

    z = (bed.x - alpha * mean) / math.hypot(alpha * std, sigma)
    start, end = math.atan2(sigma, alpha * std), math.atan2(rho_end, std)
    if abs(start - end) < 1e-13:
        return bed.y(bed.x, bed.field.span[0])
    z = integrate(slope, z, np.linspace(start, end, 9).tolist())
    return mean + z * math.hypot(std, rho_end)


def integrate(
    slope: Callable[[Tensor, Tensor], Tensor],
    state: Tensor,
    nodes: list[float],
    rtol: float = 1e-11,
    atol: float = 1e-12,
) -> Tensor:
    """Solve an ODE tightly through the nodes, the worst coordinate held to the tolerance."""

    def worst(error: Tensor) -> Tensor:
        return error.abs().max()

    times = torch.tensor(nodes, dtype=torch.float64)
    for k in range(len(nodes) - 1):
        options = {"step_t": times[k + 1 : k + 2], "norm": worst}
        piece = times[k : k + 2]
        state = odeint(
            slope, state, piece, rtol=rtol, atol=atol, method="dopri8", options=options
        )[-1]
    return state


SCHEDULES: dict[str, Callable[[], Schedule]] = {"vp": VP, "edm": Karras, "rect": Rectified}
DOFS = {"pfgm": 1.0, "pfgmpp128": 128.0}
KINDS = ("six", "held", "fresh", "poisson")


def names(kind: str) -> list[str]:
    """The names of the beds of a kind: "six", "held", "fresh" or "poisson"."""
    if kind == "poisson":
        return [f"{law}/{noise}" for law in ("2d", "64d") for noise in DOFS]
    if kind not in KINDS:
        raise ValueError(f"no beds of kind {kind!r}; kinds: {', '.join(KINDS)}")
    laws = [law for law in LAWS if (law.split("/")[0] if "/" in law else "six") == kind]
    return [f"{law}/{schedule}" for law in laws for schedule in SCHEDULES]


def beds(kind: str) -> list[Bed]:
    """The beds of a kind: "six", "held", "fresh" or "poisson"."""
    return [bed(name) for name in names(kind)]


@cache
def bed(name: str) -> Bed:
    """The bed of this name, such as "2d/edm", "held/16d/vp" or "64d/pfgm"."""
    every = [n for kind in KINDS for n in names(kind)]
    if name not in every:
        raise ValueError(f"no bed named {name!r}; beds: {', '.join(every)}")
    family, path = name.rsplit("/", 1)
    law = LAWS[family]()
    rng = Rng(2024)
    if path in DOFS:
        return _poisson(name, law, DOFS[path], rng)
    field = DiagonalMixture(law, SCHEDULES[path]())
    assert isinstance(field.noise, Normal) and field.prior is not None
    rows = FRESH_ROWS if name.startswith("fresh/") else ROWS
    x = field.prior.sample((rows, law.means.shape[1]), rng, dtype=torch.float64)
    return Bed(name, field, law, x)


def _poisson(name: str, law: Law, dof: float, rng: Rng) -> Bed:
    plane = PoissonField(Mixture(*law, Karras(), StudentT(dof)))
    start = plane.start(ROWS, rng)
    assert isinstance(start.field, PoissonField)
    return Bed(name, start.field, law, start.x.double())
