r"""What guidance samples, against the law that it names.

At every noise level t a guided field of weight w is, for normal noise, the score of
:math:`p_t^{1-w} \, p_t(\cdot | y)^w`. It is believed to sample the *tilted law*
:math:`p^{1-w} \, p(\cdot | y)^w` of the data. Where the field is exact, both are known: the
guided flow is solved, the tilted law is drawn (`diffode.analysis.tilted`), and they are compared.
What is left is no error of a network. The share of the solver is measured apart: the same starts
with few evaluations against the same starts converged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from diffode.analysis.tilted import tilted
from diffode.doors import as_count, as_counts
from diffode.fields.affine import AffineField
from diffode.fields.guidance import classifier_free
from diffode.fields.labelled import Labelled
from diffode.fields.poisson import PoissonField
from diffode.metrics import wasserstein2
from diffode.metrics.estimates import Estimate
from diffode.rng import Rng
from diffode.sampling.drawing import sample
from diffode.solvers import Solver
from diffode.tables import Table

_TIGHT = 1e-5  # the tolerance of what counts as converged
_FEWEST = 40
_SAMPLED = ("W2", "W2 of two draws", "shift", "spread", "accuracy", "of the law")


@dataclass(frozen=True)
class Comparison:
    """How a set of samples lies beside draws of the tilted law.

    Attributes:
        distance: W2 of the samples and the draws.
        shift: the distance of their means, in units of the draws' rms distance from their mean.
        spread: the total variance of the samples, divided by that of the draws.
        accuracy: the share of samples that the exact classifier gives the label.
    """

    distance: Estimate
    shift: float
    spread: float
    accuracy: float


@dataclass(frozen=True)
class Spent:
    """The guided flow by a solver of few evaluations.

    Attributes:
        nfe: evaluations of the guided field.
        network_calls: calls of a network that they would take.
        error: the RMS distance of the samples from the converged ones of the same starts.
        beside: how they lie beside the tilted law.
    """

    nfe: float
    network_calls: float
    error: float
    beside: Comparison


@dataclass(frozen=True)
class GuidanceAudit:
    """How far samples of a guided field are from the tilted law.

    Attributes:
        name: of what was guided.
        weight: w.
        interval: of noise levels that guidance is on at; None is all.
        count: samples, and draws of the tilted law.
        accepted: the share of proposals that became draws of the tilted law.
        exact: other draws of the tilted law; their distance is the floor of all others.
        converged: the guided flow, solved to a tolerance of 1e-5.
        spent: the guided flow by few evaluations.
    """

    name: str
    weight: float
    interval: tuple[float, float] | None
    count: int
    accepted: float
    exact: Comparison
    converged: Comparison
    spent: list[Spent]

    def asdict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return asdict(self)


def audit(
    field: AffineField,
    y: int,
    weight: float,
    *,
    interval: tuple[float, float] | None = None,
    weak: AffineField | None = None,
    n: int = 1000,
    nfe: int | Sequence[int] = (10, 20, 35),
    solver: Solver | str | None = None,
    seed: int = 0,
    name: str = "",
) -> GuidanceAudit:
    """Compare what classifier-free guidance or autoguidance samples with the tilted law.

    Arguments:
        field: an exact field with labels, or a `PoissonField` of one.
        y: the label that is guided to.
        weight: w >= 0.
        interval: (lo, hi), guidance for lo <= sigma / alpha <= hi alone.
        weak: an exact field of a weaker law, whose class y is guided away from.
        n: samples, and draws of the tilted law.
        nfe: evaluations that the solver in question may spend, one number or several.
        solver: in question; None is the default.
        seed: of the starts and of the draws.
        name: of what is guided, for tables.

    Raises:
        TypeError: a field that is not exact, or a count that is no whole number.
        ValueError: what `classifier_free` or `tilted` refuses, labels that are not 0 to K - 1,
            fewer than 40 samples, or samples that are not finite.
        ImportError: POT is not installed.
    """
    if as_count(n, "n") < _FEWEST:
        raise ValueError(f"got n={n}; an audit needs {_FEWEST} samples at least")
    counts = as_counts(nfe, "nfe", 1)
    law, weaker = _exact(field), None if weak is None else _exact(weak)
    guided = classifier_free(field, weight, interval, weak)
    draws, others = (tilted(law, y, weight, n, Rng(seed, step=k), weaker) for k in (0, 1))

    def beside(x: Tensor) -> Comparison:
        return _beside(x, draws.x, law, y)

    end = sample(guided, n, "dopri5-rows", seed=seed, y=y, rtol=_TIGHT, atol=_TIGHT).x
    few = [sample(guided, n, solver, k, seed=seed, y=y) for k in counts]
    return GuidanceAudit(
        name=name or repr(field.noise),
        weight=float(weight),
        interval=interval,
        count=n,
        accepted=draws.accepted,
        exact=beside(others.x),
        converged=beside(end),
        spent=[Spent(s.nfe, s.network_calls, _apart(s.x, end), beside(s.x)) for s in few],
    )


def _exact(field: AffineField) -> Labelled:
    """The exact field, which states densities, of one that may start on the hemisphere."""
    law = field.inner if isinstance(field, PoissonField) else field
    if not isinstance(law, Labelled):
        raise TypeError(
            f"got a {type(law).__name__}; an audit of guidance needs the densities of an exact "
            "field: a Mixture or an Empirical, with labels"
        )
    return law


def _beside(x: Tensor, draws: Tensor, law: Labelled, y: int) -> Comparison:
    """Samples beside draws of the tilted law, both (n, *event)."""
    lost = int((~x.flatten(1).isfinite().all(1)).sum())
    if lost:
        raise ValueError(f"{lost} of {len(x)} samples are not finite")
    a, b = x.double().flatten(1), draws.double().flatten(1)
    radius = b.var(0).sum()
    return Comparison(
        distance=wasserstein2(a, b),
        shift=float((a.mean(0) - b.mean(0)).norm() / radius.sqrt()),
        spread=float(a.var(0).sum() / radius),
        accuracy=float((_classes(law, x.to(draws)) == y).double().mean()),
    )


def _classes(law: Labelled, x: Tensor) -> Tensor:
    """The most probable label of each point, shape (n,)."""
    weights, t = law.class_log_weights, law.span[1]
    return torch.stack([w + law.log_marginal(x, t, k) for k, w in enumerate(weights)]).argmax(0)


def _apart(x: Tensor, y: Tensor) -> float:
    """The RMS distance of points with the same starts."""
    return float((x.double() - y.double()).flatten(1).square().sum(1).mean().sqrt())


def audit_tables(audits: Sequence[GuidanceAudit]) -> tuple[Table, Table]:
    """Two tables of several audits: what guidance samples, and what the solver adds to it."""
    sampled, solved = [], []
    for a in audits:
        how = [a.name, f"{a.weight:g}", _where(a.interval)]
        end, law = a.converged, a.exact
        sampled.append([
            *how, f"{end.distance.value:.2f}", f"{law.distance.value:.2f}", f"{end.shift:.2f}",
            f"{end.spread:.2f}", f"{end.accuracy:.1%}", f"{law.accuracy:.1%}",
        ])  # fmt: skip
        solved.append([*how, f"{end.distance.value:.2f}", *map(_cell, a.spent)])
    head = ["", "w", "where rho is in"]
    few = [f"{s.nfe:.0f} evaluations" for s in audits[0].spent] if audits else []
    return (
        Table([*head, *_SAMPLED], sampled),
        Table([*head, "converged", *few], solved),
    )


def _where(interval: tuple[float, float] | None) -> str:
    return "all" if interval is None else f"{interval[0]:g} to {interval[1]:g}"


def _cell(spent: Spent) -> str:
    """W2, the distance from converged, and network calls, of a few evaluations."""
    return (
        f"{spent.beside.distance.value:.2f} ({spent.error:.2f}, {spent.network_calls:.0f} calls)"
    )
