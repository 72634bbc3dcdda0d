"""A metric: a function of samples and of what they are measured against, with its name.

A metric of one's own is a column of `diffode eval` and `diffode bench` (``--metric``), with the
same figure for real data and a standard error::

    from diffode.metrics import metric

    @metric("spread", "one", "standard deviation over that of real data")
    def spread(s):
        return s.x.std() / s.reference.std()
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from torch import Tensor

from diffode import code, registry
from diffode.inputs import brief, quoted
from diffode.metrics.estimates import Estimate, jackknife, stated
from diffode.metrics.features import Features
from diffode.metrics.reference import Reference
from diffode.registry import NOWHERE

Better = Literal["low", "high", "half", "one"]
_BETTER = ("low", "high", "half", "one")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Samples:
    """Samples and what they are measured against: the argument of every metric.

    Attributes:
        x: the samples, shape (n, *event); in a feature space (n, d).
        reference: real data to compare them with, shape (m, *event) or (m, d).
        against: the data set, and what is known of the reference.
        y: the classes that they were drawn with, shape (n,), if they were drawn with any.
        path: the states of some of them, shape (K + 1, B, *event), if these were kept.
        real: whether they are real data, which every figure stands beside.
    """

    x: Tensor
    reference: Tensor
    against: Reference
    y: Tensor | None = None
    path: Tensor | None = None
    real: bool = False
    _known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def shared(self, part: Callable[[Samples], Found]) -> Found:
        """What several metrics are made of, computed once."""
        if part not in self._known:
            self._known[part] = part(self)
        found: Found = self._known[part]
        return found

    def within(self, space: Features) -> Samples:
        """The same in a feature space."""
        if str(space) not in self._known:
            reference = self.against.features_of(space)
            self._known[str(space)] = replace(self, x=space(self.x), reference=reference)
        found: Samples = self._known[str(space)]
        return found


Measure = Callable[[Samples], "Estimate | Tensor | float | None"]


def metric(
    name: str,
    better: Better,
    about: str,
    *,
    in_features: bool = False,
    when: Callable[[Reference], bool] | None = None,
) -> Callable[[Measure], Measure]:
    """Register a metric: a decorator of a function of `Samples`.

    The function returns an `Estimate`, or a number, whose standard error is then found by leaving
    out parts of both sets (the jackknife), or None for samples that have no such figure.

    Arguments:
        name: of the column.
        better: where good samples lie: "low", "high", "half" (at 1/2) or "one" (at 1).
        about: what it is, in a line.
        in_features: measure in each feature space, with a column for each.
        when: for which references there is such a column; None is for all.

    Raises:
        ValueError: a name that is taken, or another ``better``.
    """
    if better not in _BETTER:
        raise ValueError(f"got better={quoted(better)}; wanted one of {', '.join(_BETTER)}")

    def add(measure: Measure) -> Measure:
        registry.register(
            "metric", name, measure, about=about,
            title=name, better=better, in_features=in_features, when=when,
        )  # fmt: skip
        return measure

    return add


@dataclass(frozen=True)
class Metric:
    """A column of a table.

    Attributes:
        name: as `Panel.measure` names it.
        about: what it is, in a line.
        better: "low", "high", "half" or "one": where good samples lie.
        function: what measures it.
        space: the feature space that it is measured in, if it is in one.
        origin: of a metric that is not diffode's own, what is known of its code.
    """

    name: str
    about: str
    better: str
    function: Measure
    space: Features | None = None
    origin: str = ""

    def asdict(self) -> dict[str, str]:
        """What tables say of it, for JSON."""
        return {"name": self.name, "about": self.about, "better": self.better}

    def __call__(self, samples: Samples) -> Estimate | None:
        """The figure of samples, NaN with the reason where it cannot be had."""
        try:
            seen = samples if self.space is None else samples.within(self.space)
            return _estimate(self.function, seen)
        except (ValueError, ImportError, ArithmeticError, RuntimeError) as error:  # of LAPACK too
            return Estimate(math.nan, refused=" ".join(str(error).split()))
        except Exception as error:
            if not self.origin:
                raise
            said = brief(f"{type(error).__name__}: {error}", 200)
            return Estimate(math.nan, refused=said)


def columns(name: str, against: Reference) -> list[Metric]:
    """The columns of a metric: one, one for each feature space, or none.

    Arguments:
        name: of the metric, or the place of one whose code ran.
        against: what is measured against.

    Raises:
        ValueError: no such metric, or code that is not registered as one.
    """
    entry = registry.find("metric", name)
    origin = _source(entry.value) if entry.origin == NOWHERE else entry.origin
    if "better" not in entry.facts:
        raise ValueError(
            f"{quoted(code.short(entry.key))} does not say where good samples lie; put "
            '@diffode.metrics.metric(NAME, "low", ABOUT) above it'
        )
    title, better, when = (entry.facts[key] for key in ("title", "better", "when"))
    if when is not None and not when(against):
        return []
    if not entry.facts["in_features"]:
        return [Metric(title, entry.about, better, entry.value, None, origin)]
    return [
        Metric(f"{title}[{s}]", f"{entry.about} of features {s.name}", better, entry.value, s,
               origin)
        for s in against.features
    ]  # fmt: skip


def _source(measure: Measure) -> str:
    """The fingerprint of a function that stands in no file, as in a notebook."""
    try:
        return f"sha256 {hashlib.sha256(inspect.getsource(measure).encode()).hexdigest()}"
    except OSError:
        return NOWHERE


def _estimate(measure: Measure, samples: Samples) -> Estimate | None:
    """What a metric finds; of a plain number with its error by the jackknife."""
    found = measure(samples)
    if found is None or isinstance(found, Estimate):
        return found
    n, m = len(samples.x), len(samples.reference)

    def of_samples(kept: Tensor) -> float:
        y = None if samples.y is None else samples.y[kept]
        return _number(measure(replace(samples, x=samples.x[kept], y=y)))

    def of_reference(kept: Tensor) -> float:
        return _number(measure(replace(samples, reference=samples.reference[kept])))

    variance = jackknife(of_samples, n) + jackknife(of_reference, m)
    return stated(_number(found), math.sqrt(variance) if variance > 0 else math.nan, n, m)


def _number(found: Estimate | Tensor | float | None) -> float:
    if isinstance(found, (int, float, Tensor)):
        return float(found)
    raise TypeError(f"got {type(found).__name__} for a part of the samples and a number for all")
