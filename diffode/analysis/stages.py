r"""The stages of an error budget: the same samples, one thing changed at a time.

==  =======================  ============================  ========================
0   the exact field          from the exact law p_T        converged
1   the exact field          from the prior                converged
2   the exact field          from the prior                by the solver in question
3   the trained field        from the prior                by the solver in question
4   the trained field        from the prior                converged
==  =======================  ============================  ========================

The budget is the way from 0 to 3; stage 4 shows what the solver does to the trained field.

Row i is the same sample in all four: the prior's draw is :math:`\alpha m + \sigma n`, and the
exact law's is :math:`\alpha x_0 + \sigma n` with the same n and a point x_0 of the data. A
Poisson flow starts at :math:`(x, \sigma_{max} q)` on a hemisphere about m; the ray from m
through it meets the plane of all exact charges at :math:`n = \sqrt{D} (x - m) / (\sigma_{max} q)`,
and there the exact law is :math:`x_0 + \sigma_{max} n`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffode.data import Dataset
from diffode.data.scaling import model_units
from diffode.fields import Empirical, Mixture, MonoFlow, PoissonField
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Start, expand_like
from diffode.fields.critics import CriticBank
from diffode.fields.noise import require_independent
from diffode.fields.schedules import Karras
from diffode.fields.turned import Blurred, on_path_of
from diffode.priors import is_normal, is_student
from diffode.rng import Rng
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample
from diffode.solvers import Solution, Solver, get_solver

TIGHT, TIGHTER = 1e-5, 1e-7  # tolerances of what counts as converged, and of its check
FINER = 8  # times the stages of a march that counts as converged
_COMPONENTS = 64  # of a mixture, up to which Student-t noise is integrated over its scale
_POINTS = 4096  # of the training split, at most


@dataclass(frozen=True)
class Stages:
    """End points of the same rows after each stage.

    Attributes:
        x: shape (5, n, *event).
        nfe: what the solver in question spent.
        solver: its name and options.
        accuracy: the RMS distance of converged end points to better converged ones.
    """

    x: Tensor
    nfe: float
    solver: str
    accuracy: float


class _From(AffineField):
    """A field whose flow starts at given points."""

    def __init__(self, field: AffineField, start: Start) -> None:
        super().__init__(field.schedule, field.noise, *field.moments)
        self.principal_std = field.principal_std
        self._given = (start,)  # in a tuple: no submodule

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """The given points."""
        return self._given[0]


def exact_field(field: AffineField, dataset: Dataset) -> AffineField:
    """The exact field on the path of a trained one: of the data's law, else of its points.

    Arguments:
        field: whose schedule and noise are taken.
        dataset: the data; its law is taken where it is a mixture of Gaussians (of 64 components at
            most if the noise is Student's) and the noise is one of the two laws, else up to
            4,096 of its training points.

    Raises:
        TypeError: a field of coupled pairs, whose exact field is another one.
    """
    require_independent(field.coupled, "the exact field on its path")
    law, path = dataset.law, (field.schedule, field.noise)
    inner: AffineField
    law = law if field.decay is None else None
    few = law is not None and len(law.weights) <= _COMPONENTS
    if law is not None and (is_normal(field.noise) or (few and is_student(field.noise))):
        stds = torch.full((len(law.weights),), law.std, dtype=torch.float64)
        inner = Mixture(law.weights, law.means, stds, *path)
    else:
        rows = Rng(0).permutation("points", len(dataset.train))[:_POINTS]
        inner = on_path_of(field, dataset.train[rows].double())
    return PoissonField(inner, radius=field.radius) if isinstance(field, PoissonField) else inner


def affine_stages(
    field: AffineField,
    exact: AffineField,
    dataset: Dataset,
    solver: Solver,
    n: int,
    seed: int,
    **spent: Any,  # noqa: ANN401
) -> Stages:
    """The stages of an affine field.

    Arguments:
        field: the trained one.
        exact: the exact one on the same path, as from `exact_field`.
        dataset: where the points x_0 come from, if the exact field does not say.
        solver: the one in question.
        n: rows.
        seed: of the starts.
        spent: ``nfe`` or ``steps`` of the solver, and its ``grid``.
    """
    rng = Rng(seed)
    drawn = field.start(n, rng)
    x = drawn.x.double()
    x0, mean = _drawn(exact, dataset, n, seed).view(x.shape), field.moments[0].double()
    bound, q = drawn.field, drawn.field.latent(x).q
    if q is not None:
        if not isinstance(exact, PoissonField):
            raise TypeError(
                f"{type(field).__name__} wraps a Poisson flow, whose rows have noise of their "
                "own; ask for the budget of the PoissonField, or pass exact= as one"
            )
        shift = (x - mean) * expand_like(math.sqrt(exact.dof) / q.double(), x)
        truth, prior = Start(x0 + shift, exact), Start(x, exact.bind(q))
    else:
        t = field.span[0]
        truth = Start(field.faded(x0, t) + (x - field.faded(mean[None], t)), exact)
        prior = Start(x, exact)
    tight = get_solver("dopri5-rows", rtol=TIGHT, atol=TIGHT)
    tighter = get_solver("dopri5-rows", rtol=TIGHTER, atol=TIGHTER)
    trained = Start(x, bound)
    short = [_run(start, solver, **spent) for start in (prior, trained)]  # it may refuse
    exact_ends = [_run(start, tight) for start in (truth, prior)]
    ends = [*exact_ends, *short, _run(trained, tight)]
    some = torch.arange(min(n, 32))
    checked = _run(Start(x[some], prior.field.rows(some)), tighter)
    gap = (checked.x - ends[1].x[some]).flatten(1).square().sum(1).mean().sqrt()
    stages = torch.stack([end.x.double().cpu() for end in ends])
    return Stages(stages, float(ends[3].nfe_per_row.double().mean()), repr(solver), float(gap))


def _run(start: Start, solver: Solver, **spent: Any) -> Solution:  # noqa: ANN401
    field = start.field
    assert isinstance(field, AffineField)
    end = sample(_From(field, start), len(start.x), solver, **spent)
    if said := end.shortfall():
        raise ValueError(f"the error budget compares rows at their ends: with {solver}, {said}")
    return end


def _drawn(exact: AffineField, dataset: Dataset, n: int, seed: int) -> Tensor:
    """Draws of the law that a field is exact for; points of a finite set in turn."""
    inner = exact.inner if isinstance(exact, PoissonField) else exact
    points = dataset.train
    if isinstance(inner, Blurred):
        return inner.sample(n, Rng(seed).at(1)).double()
    if isinstance(inner, Empirical):
        points = inner.points
        even = bool((inner.log_weights == inner.log_weights[0]).all())
        if not even or inner.bandwidth:
            return inner.sample(n, Rng(seed).at(1)).double()
    elif isinstance(inner, Mixture):
        return inner.sample(n, Rng(seed).at(1)).double()
    order = Rng(seed).permutation("rows", len(points))
    return points[order.repeat(math.ceil(n / len(order)))[:n]].double()


def march_stages(field: MonoFlow, dataset: Dataset, n: int, seed: int) -> Stages:
    r"""The stages of a march: exact ratios in place of trained critics.

    The critic of the exact march is the log-ratio of the data's law and of the rows' own cloud,
    both under the noise of the moment, which is known:

    .. math:: d(x, t) = \log (p * N(0, \sigma_t^2))(x)
              - \log \frac1n \sum_j N(x; x_j, \sigma_t^2).

    The prior is where a march begins, so there is nothing between the first two stages.

    Arguments:
        field: with a bank of critics.
        dataset: whose law is a mixture of Gaussians.
        n: rows, which are the exact march's cloud too.
        seed: of the starts.

    Raises:
        ValueError: a flow without a bank, or data whose law is not known.
    """
    law = dataset.law
    if not isinstance(field.critic, CriticBank) or field.sampling_defaults is None:
        raise ValueError("an error budget of MonoFlow needs a bank of critics; train monoflow")
    if law is None:
        raise ValueError(
            f"{dataset.name} has no known law, so its ratios are not exact; budget MonoFlow on "
            "eight-gaussians, blobs or moons"
        )
    x = field.start(n, Rng(seed)).x
    stds = torch.full((len(law.weights),), law.std, dtype=torch.float64)
    mixture = Mixture(law.weights, law.means, stds, Karras())
    times = torch.tensor(field.sampling_defaults.times, dtype=torch.float64)
    count = len(times) - 1
    fine, finer = (
        _march(field, mixture, x, _filled(times, k * count)) for k in (FINER, 2 * FINER)
    )
    coarse = _march(field, mixture, x, times)
    trained = sample(field, n, seed=seed)
    # the bank's own steps are the trained flow
    end = model_units(trained.x.double().cpu(), field.scaling)
    ends = torch.stack((fine, fine, coarse, end, end))
    gap = float((fine - finer).flatten(1).square().sum(1).mean().sqrt())
    return Stages(ends, trained.nfe, repr(solver_for(field, None, {})), gap)


def _filled(times: Tensor, steps: int) -> Tensor:
    place = torch.arange(steps + 1, dtype=torch.float64) * ((len(times) - 1) / steps)
    left = place.floor().clamp_max(len(times) - 2).long()
    return torch.lerp(times[left], times[left + 1], place - left)


@torch.no_grad()
def _march(flow: MonoFlow, law: Mixture, x: Tensor, times: Tensor) -> Tensor:
    x = x.double()
    for t, step in zip(times[:-1], times.diff(), strict=True):
        sigma = flow.rate.sigma(t / flow.span[1])  # type: ignore[union-attr]
        cloud = Empirical(x, law.schedule)
        d = law.log_marginal(x, sigma) - cloud.log_marginal(x, sigma)
        rise = law.score(x, sigma) - cloud.score(x, sigma)
        x = x + step * flow.rate_at(t) * expand_like(flow.h.slope(d), x) * rise
    return x


def stages_of(
    field: Field,
    dataset: Dataset,
    solver: Solver | str | None,
    n: int,
    seed: int,
    exact: AffineField | None = None,
    **spent: Any,  # noqa: ANN401
) -> Stages:
    """The stages of a field.

    Raises:
        ValueError: a field that is not a flow, or one without a prior.
    """
    if isinstance(field, MonoFlow):
        return march_stages(field, dataset, n, seed)
    if not isinstance(field, AffineField):
        raise ValueError(
            f"{type(field).__name__} is no flow between two laws, so it has no error budget; "
            "give an affine field or a march of MonoFlow"
        )
    chosen = solver_for(field, solver, {})
    return affine_stages(
        field, exact or exact_field(field, dataset), dataset, chosen, n, seed, **spent
    )
