r"""Does a field agree with the exact field of the data, and if not, which mistake explains it?

Fields are compared by :math:`|a - b| / (|a| + |b|)`, averaged over rows and times: 0 where they
agree, 1 where they point apart, and no row counts for more than 1. A mistake is named where its
velocity is the given one to a few percent; for a network, where it is by far the nearest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.fields.base import Field
from diffode.rng import Rng
from diffode.testing.candidates import Candidate, Candidates, Place, is_chain, scores
from diffode.testing.findings import Finding
from diffode.testing.mistakes import MISTAKES
from diffode.testing.shifts import shift_of

_EQUAL = 1e-4  # differences below are rounding
_CLOSE = 0.05  # differences below are the difference of two exact fields
_TRAINED = 0.3  # differences below are those of a trained network
_NEARER = 0.7  # of a network's difference: what another law explains of it
_ROWS = 32
_LEVELS = (0.2, 0.35, 0.6, 1.0, 1.6, 2.5, 5.0)  # of rho, in units of the data's std


def places(candidates: Candidates) -> list[Place]:
    """Points of the exact path where data and noise both matter, in float64 on the CPU."""
    schedule, exact = candidates.schedule, candidates.exact
    span = torch.tensor(schedule.span, dtype=torch.float64)
    low, high = schedule.rho(span).sort().values.tolist()
    wanted = exact.moments[1] * torch.tensor(_LEVELS, dtype=torch.float64)
    wanted = wanted[(wanted > low) & (wanted < high)]
    if len(wanted) < 3:
        a, b = math.log10(low), math.log10(min(high, 1e3))
        wanted = torch.logspace(a, b, 5, dtype=torch.float64)[1:-1]
    times = schedule.time(wanted).tolist()
    if candidates.times is not None:
        times = [float(candidates.times[(candidates.times - t).abs().argmin()]) for t in times]
    elif is_chain(schedule):
        times = [float(round(t)) for t in times]
    found = []
    for k, t in enumerate(dict.fromkeys(times)):
        rng = Rng(11).at(k)
        x0 = exact.sample(_ROWS, rng)
        found.append(Place(t, exact.corrupt(x0, t, rng)[0]))
    return found


def difference(a: Tensor, b: Tensor) -> float:
    """The mean of |a - b| / (|a| + |b|) over rows; 1 where either is not finite."""
    a, b = a.double().flatten(1), b.double().flatten(1)
    gap = (a - b).norm(dim=1) / (a.norm(dim=1) + b.norm(dim=1)).clamp_min(1e-12)
    return float(gap.nan_to_num(1.0, 1.0, 1.0).mean())


def correlation(a: Tensor, b: Tensor) -> float:
    """The mean cosine of the angle between rows."""
    cosine = torch.nn.functional.cosine_similarity(a.double().flatten(1), b.double().flatten(1))
    return float(cosine.nan_to_num(0.0).mean())


class Fit(NamedTuple):
    """How well a candidate explains the given values.

    Attributes:
        name, form: the candidate's.
        error: its difference from them.
        off: its difference from the exact values.
    """

    name: str
    form: str
    error: float
    off: float


class Comparison(NamedTuple):
    """Given and exact values at all places, and how well each candidate explains them."""

    given: list[Tensor]
    exact: list[Tensor]
    fits: list[Fit]

    @property
    def error(self) -> float:
        """The difference between given and exact values."""
        return _mean(difference, self.given, self.exact)

    @property
    def correlation(self) -> float:
        """The correlation between them."""
        return _mean(correlation, self.given, self.exact)


def _mean(f: Callable[[Tensor, Tensor], float], a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return sum(map(f, a, b)) / len(a)


def compare(
    given: list[Tensor], exact: list[Tensor], candidates: list[list[Candidate]]
) -> Comparison:
    """Fit every candidate to the given values; one list of values for each place."""
    fits: list[Fit] = []
    for same in zip(*candidates, strict=True):
        values = [c.value for c in same]
        off = _mean(difference, values, exact)
        fits.append(Fit(same[0].name, same[0].form, _mean(difference, given, values), off))
    if not any(f.name and f.error < 0.03 for f in fits):
        fits += _factors(given, exact)
    return Comparison(given, exact, fits)


def _factors(given: list[Tensor], exact: list[Tensor]) -> list[Fit]:
    """The exact values times one number, and times one for each place."""
    each = [float((v * e).sum() / e.square().sum()) for v, e in zip(given, exact, strict=True)]
    middle = sorted(each)[len(each) // 2]
    found = []
    for name, factors in (("constant factor", [middle] * len(each)), ("speed", each)):
        if min(factors) <= 0:
            continue
        values = [k * e for k, e in zip(factors, exact, strict=True)]
        low, high = min(factors), max(factors)
        form = f"times {middle:.4g}" if name == "constant factor" else f"{low:.3g} to {high:.3g}"
        error, off = _mean(difference, given, values), _mean(difference, values, exact)
        if error < 0.005:
            found.append(Fit(name, form, error, off))
    return found


def verdict(
    check: str, c: Comparison, learned: bool, span: tuple[float, float], what: str
) -> Finding:
    """What a comparison says.

    Arguments:
        check: its name.
        c: given and exact values, and the candidates.
        learned: whether the field has parameters, so that it need not be exact.
        span: of the schedule, for the advice.
        what: what was compared, such as "velocity".
    """
    error, evidence = c.error, f"correlation {c.correlation:.4g} with the exact {what}"
    differs = f"{evidence}, difference {percent(error)}"
    if error < _EQUAL:
        return Finding(check, True, f"the {what} is the exact one", differs)
    fits = [f for f in c.fits if f.error < 0.2 * f.off]
    near = [f for f in c.fits if f.name and f.off > _EQUAL]
    least = min(f.error for f in near)
    best = next(f for f in near if f.error <= 1.02 * least + 1e-9)  # the first of equals
    explains = best in fits and best.error < 0.03 and best.error < 0.25 * error
    if explains or _stands_out(best, c.fits, error):
        return _named(check, best, near, span, evidence)
    if error < _CLOSE:
        return Finding(check, True, f"the {what} agrees with the exact one", differs)
    apart = min((f.error for f in near if f.off > error), default=1.0)
    nearer = best.error < _NEARER * error
    if learned and error < _TRAINED and error <= apart and not nearer:
        said = f"the {what} agrees with the exact one as trained fields do"
        return Finding(check, True, said, differs)
    if learned:
        said = "not trained enough to tell, or of another law than the data"
        if nearer:
            differs += f"; nearer, {percent(best.error)}, if {MISTAKES[best.name][0]}"
        return Finding(check, None, said, differs)
    if c.correlation > 0.9:
        return Finding(check, None, "of another law than the data, it seems", differs)
    return Finding(
        check,
        False,
        f"the {what} is not the exact one, and no known mistake explains it",
        f"{differs}; nearest: {best.name}, {percent(best.error)}",
        "compare it with Empirical(data, schedule, noise) term by term",
    )


def _named(
    check: str, best: Fit, near: Sequence[Fit], span: tuple[float, float], evidence: str
) -> Finding:
    """The mistake that explains the values, and those that explain them as well."""
    message, advice = MISTAKES[best.name]
    alike = [f.name for f in near if f.error < 1.2 * best.error + 1e-6 and f.name != best.name]
    others = tuple(dict.fromkeys(alike))
    if others:
        message += f" (or: {'; '.join(MISTAKES[o][0] for o in others)})"
    form, off = f" ({best.form})" if best.form else "", percent(best.error)
    evidence += f"; the exact field with that mistake{form} differs by {off}"
    advice = advice.format(first=span[0], last=span[1])
    return Finding(check, False, message, evidence, advice, best.name, others)


def percent(fraction: float) -> str:
    """A difference as findings state it."""
    return "under 0.01 %" if fraction < _EQUAL else f"{100 * fraction:.2g} %"


def _stands_out(best: Fit, fits: list[Fit], error: float) -> bool:
    """Whether a network's velocity is clearly that of one mistake, and not of poor training.

    A network is never exact, so being nearer to a mistake than to the truth is not enough:

    * it is far from the exact field: its difference ``error`` is above .35;
    * it is near to the mistake: the difference of ``best`` is below .3, and .4 of ``error``;
    * other candidates are further, by a quarter at least. Those within a factor of 1.2 give much
      the same velocity and do not count; `verdict` names them too;
    * a network that knows nothing is further still: ``best`` is below .6 of its difference.
    """
    rivals = [f.error for f in fits if f.name != best.name and f.error > 1.2 * best.error + 1e-6]
    ignorant = min((f.error for f in fits if not f.name), default=1.0)
    clear = best.error < 0.75 * min(rivals, default=1.0) and best.error < 0.6 * ignorant
    return clear and error > 0.35 and best.error < 0.3 and best.error < 0.4 * error


def score_comparison(
    candidates: Candidates, found: list[Place], given: list[Tensor]
) -> Comparison:
    """Compare scores."""
    exact = [candidates.exact.score(p.x, p.t) for p in found]
    return compare(given, exact, [list(scores(candidates, p)) for p in found])


def velocity_comparison(
    candidates: Candidates, found: list[Place], given: list[Tensor], learned: bool
) -> Comparison:
    """Compare velocities, with all candidates and, where none explains them, a shifted time.

    A network's own error hides a small shift, so it is not looked for there.
    """
    exact = [candidates.exact.velocity(p.x, p.t) for p in found]
    c = compare(given, exact, [list(candidates.at(p)) for p in found])
    best = min(f.error for f in c.fits)
    most = 0.02 if learned else _TRAINED
    if _EQUAL < c.error < most and best > 1e-3 and best > 0.02 * c.error:
        flat = [v.double().flatten(1) for v in given]
        c = c._replace(fits=c.fits + compare(given, exact, shift_of(candidates, found, flat)).fits)
    return c


def values(field: Field, found: list[Place], name: str = "velocity") -> list[Tensor]:
    """What a field returns at the places, in float64, or in float32 where it must be so."""
    out = []
    for place in found:
        x, function = place.x.to(field.device), getattr(field, name)
        t = torch.tensor(place.t, dtype=torch.float64, device=x.device)
        try:
            v = function(x, t)
        except (RuntimeError, ValueError, IndexError):
            v = function(x.float(), t.expand(len(x)))
        out.append(v.detach().double().cpu())
    return out
