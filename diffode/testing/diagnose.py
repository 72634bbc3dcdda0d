"""Find out what is wrong with a field, and name the likely mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from diffode.data import Dataset, load
from diffode.data.memory import Data, arrays_of
from diffode.data.scaling import in_units
from diffode.data.source import Source, subset, whole
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.corruption import Corrupting
from diffode.fields.poisson import PoissonField
from diffode.fields.schedules import Schedule
from diffode.interop.calls import CalledField
from diffode.priors import Normal, Spherical, is_normal
from diffode.rng import Rng
from diffode.testing import agreement, ends
from diffode.testing.attributes import require_stated
from diffode.testing.candidates import Candidates, Place
from diffode.testing.contract import CHECKS, why_not
from diffode.testing.conventions import misread
from diffode.testing.corruptions import CORRUPTION_CHECKS
from diffode.testing.findings import Finding, Mistake, Report, Steepness
from diffode.testing.steepness import steepness

_FOLLOWS = {"direction": ("prior", "flow"), "prior": ("flow",), "velocity": ("score", "flow")}
_RAISES = "it raises"
_NUMBERS = 15_000_000  # of the data that the exact field holds

_T = TypeVar("_T")


def diagnose(
    field: Field,
    data: Data | None = None,
    *,
    schedule: Schedule | None = None,
    noise: Spherical | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    r"""Check a field, compare it with the exact field of the data, and name likely mistakes.

    On the data the field's velocity is held against that of `Empirical` and against the
    velocities that known mistakes would give. A field without a schedule is judged by where its
    flow takes draws of the prior. A network that knows too little gets no verdict.

    Arguments:
        field: with a prior, so not a bound Poisson field.
        data: what it should make: a data set, its name or file, or points (M, \*event) in memory,
            all of them and as they are, in the units of the data (``Field.scaling``).
        schedule: alpha, sigma and the span; None is ``field.schedule``, if there is one.
        noise: the law of n; None is ``field.noise``, or normal.
        progress: called with the number of checks that are done, and of all.

    Raises:
        ValueError: a field without a prior, a span or an event shape; data of another shape than
            its events, or that are not finite or all the same.
        TypeError: data that is not floating-point.
    """
    schedule = schedule or _attribute(field, "schedule", Schedule)
    require_stated(field, schedule)
    points = None if data is None else _points(field, data)
    noise = noise or _attribute(field, "noise", Spherical) or Normal()
    steps = list(_steps(field, points, schedule, noise))
    found: list[Finding] = []
    rows: tuple[Steepness, ...] = ()
    for done, (name, step) in enumerate(steps):
        if progress is not None:
            progress(done, len(steps))
        cause = next(
            (f for f in found if f.ok is False and name in _FOLLOWS.get(f.check, ())), None
        )
        if cause is not None and not isinstance(step, _Void):
            found.append(Finding(name, None, f"not judged while {cause.check} is wrong"))
            continue
        finding, more = _guarded(name, step)
        if finding.message.startswith(_RAISES) and any(f.ok is False for f in found[:1]):
            finding = Finding(name, None, "not judged while shapes is wrong")
        found.append(finding)
        rows = more or rows
    if progress is not None:
        progress(len(steps), len(steps))
    return Report(repr(field), tuple(found), rows)


def check_field(
    field: Field,
    data: Data | None = None,
    *,
    schedule: Schedule | None = None,
    noise: Spherical | None = None,
) -> list[str]:
    """Run every check on a field; the names of those that passed.

    Arguments:
        field: with a prior, so not a bound Poisson field.
        data, schedule, noise: as for `diagnose`; without data only the contract is checked.

    Raises:
        ValueError: as `diagnose`.
        AssertionError: what is wrong, one line for each check that fails, the likely mistake
            first.
    """
    if data is None:
        require_stated(field, schedule or _attribute(field, "schedule", Schedule))
        found = [_guarded(name, step)[0] for name, step in _contract(field)]
        report = Report(repr(field), tuple(found), ())
    else:
        report = diagnose(field, data, schedule=schedule, noise=noise)
    if not report.ok:
        raise AssertionError("\n".join(f.line for f in report.failures()))
    return [f.check for f in report.findings if f.ok]


Outcome = tuple[Finding, tuple[Steepness, ...]]
Step = Callable[[], Finding | Outcome]


@dataclass(frozen=True)
class _Void:
    """A check that does not apply, and why."""

    name: str
    reason: str

    def __call__(self) -> Finding:
        return Finding(self.name, None, f"does not apply: {self.reason}", applies=False)


def _guarded(name: str, step: Step) -> Outcome:
    """The outcome of a check; an error in the field's own code is one."""
    try:
        with torch.no_grad():
            outcome = step()
    except Mistake as m:
        return Finding(name, False, m.message, m.evidence, m.advice, m.name), ()
    except AssertionError as error:
        return Finding(name, False, str(error) or "an assertion failed"), ()
    except (
        Exception,
        SystemExit,
    ) as error:  # foreign code: what it raises is a finding
        words = " ".join(str(error).split())[:200]
        return Finding(name, False, f"{_RAISES} {type(error).__name__}", words), ()
    return outcome if isinstance(outcome, tuple) else (outcome, ())


def _contract(field: Field) -> Iterator[tuple[str, Step]]:
    for check in CORRUPTION_CHECKS if isinstance(field, Corrupting) else CHECKS:
        name = check.__name__.removeprefix("check_").replace("_", " ")

        def step(check: Callable[[Any], None] = check, name: str = name) -> Finding:
            if reason := why_not(check, field):
                return _Void(name, reason)()
            check(field)
            about = (check.__doc__ or name).split("\n")[0].rstrip(".")
            return Finding(name, True, about[0].lower() + about[1:])

        yield name, step


def _steps(
    field: Field, points: Tensor | None, schedule: Schedule | None, noise: Spherical
) -> Iterator[tuple[str, Step]]:
    """The checks that apply, in order."""
    yield from _contract(field)
    if isinstance(field, Corrupting):
        return
    inner = field.inner if isinstance(field, PoissonField) else field
    learned = isinstance(inner, CalledField) or any(p.numel() for p in field.parameters())
    near: Callable[[float, int], Tensor] | None = None
    why = _incomparable(field)
    if points is not None and schedule is not None and not why:
        times = (
            None
            if field.sampling_defaults is None
            else torch.tensor(field.sampling_defaults.times, dtype=torch.float64)
        )
        candidates = Candidates(points, schedule, noise, times)
        yield "direction", lambda: ends.direction(field, schedule)
        yield "prior", lambda: ends.prior(field, candidates.exact)
        found = agreement.places(candidates)
        yield "velocity", lambda: _velocity(field, candidates, found, learned)
        if not hasattr(field, "score"):
            yield "score", _Void("score", "the field states none")
        elif is_normal(noise):
            yield "score", lambda: _score(field, candidates, found, learned)
        else:
            yield "score", _Void("score", f"of {noise} noise -E[n|x] / sigma is none")

        def near(t: float, n: int) -> Tensor:
            return candidates.exact.corrupt(candidates.exact.sample(n, Rng(7)), t, Rng(7))[0]

    elif points is not None:
        for name in ("direction", "prior", "velocity", "score"):
            yield name, _Void(name, why or "the field states no schedule")

    if points is not None:
        yield "flow", lambda: ends.flow(field, points, learned, near is not None)
    yield "Lipschitz", lambda: steepness(field, schedule, near)


def _incomparable(field: Field) -> str:
    """Why the exact field of data is none on the path of a field; empty where it is one."""
    if isinstance(field, AffineField) and field.decay is not None:
        return "the schedule is not the whole path"
    if isinstance(field, AffineField) and field.coupled:
        return "its noise is coupled to the data, and that of the exact field is not"
    if not isinstance(field, PoissonField) and field.start(1, Rng(7)).field.is_bound:
        return "each of its points has an augmented radius q of its own"
    return ""


def _velocity(field: Field, candidates: Candidates, found: list[Place], learned: bool) -> Finding:
    try:
        given = agreement.values(field, found)
    except Exception:  # foreign code, which may be called in a way that it does not take
        exact = [candidates.exact.velocity(p.x, p.t) for p in found]
        if other := misread(field, found, exact, 1.0, learned):
            return other
        raise
    c = agreement.velocity_comparison(candidates, found, given, learned)
    if other := misread(field, found, c.exact, c.error, learned):
        return other
    return agreement.verdict("velocity", c, learned, candidates.schedule.span, "velocity")


def _score(field: Field, candidates: Candidates, found: list[Place], learned: bool) -> Finding:
    c = agreement.score_comparison(candidates, found, agreement.values(field, found, "score"))
    return agreement.verdict("score", c, learned, candidates.schedule.span, "score")


def _attribute(field: Field, name: str, kind: type[_T]) -> _T | None:
    value = getattr(field, name, None)
    return value if isinstance(value, kind) else None


def _points(field: Field, data: Data) -> Tensor:
    """The points to compare with, float64 on the CPU, as many as an exact field can hold."""
    if isinstance(data, str | Path):
        data = load(data)
    units = data.scaling if isinstance(data, Dataset) else None
    array = _array(data.train if isinstance(data, Dataset) else data)
    if array.shape[1:] != field.event_shape or len(array) < 2:
        wanted = ", ".join(map(str, field.event_shape))
        raise ValueError(f"got data of shape {array.shape}; this field moves points (M, {wanted})")
    if array.dtype.kind != "f":
        raise TypeError(f"got data of type {array.dtype}; scale it to floating-point numbers")
    x = torch.from_numpy(array.astype(np.float64))
    if not bool(x.isfinite().all()) or float(x.std()) == 0:
        raise ValueError("got data that are not finite, or all the same; nothing can be compared")
    x = in_units(x, units, field.scaling)
    chosen = _chosen(x)
    return x if chosen is None else x[chosen]


def _array(data: Data | Source) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
    """Data as an array; of a set that is read from a file, only rows that will be used."""
    if not isinstance(data, Source):
        return arrays_of(data)[0]
    chosen = _chosen(data)
    return whole(data if chosen is None else subset(data, chosen)).numpy()


def _chosen(x: Tensor | Source) -> Tensor | None:
    """The rows that an exact field can hold; None for all."""
    most = max(2, _NUMBERS // math.prod(x.shape[1:]))
    return Rng(10).permutation("points", len(x))[:most] if len(x) > most else None
