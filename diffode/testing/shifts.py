"""Times that are shifted by one number, found by least squares."""

from __future__ import annotations

from torch import Tensor

from diffode.testing.candidates import Candidate, Candidates, Place


def shift_of(
    candidates: Candidates, found: list[Place], given: list[Tensor]
) -> list[list[Candidate]]:
    """Candidates of a time shifted by one number, fitted by least squares, for every form."""
    length = abs(candidates.schedule.span[1] - candidates.schedule.span[0])
    low, high = min(candidates.schedule.span), max(candidates.schedule.span)
    forms = len(list(candidates.shifted(found[0], found[0].t, "")))
    out: list[list[Candidate]] = [[] for _ in found]
    for form in range(forms):
        shift = 0.0
        for _ in range(4):
            top = bottom = 0.0
            for place, v in zip(found, given, strict=True):
                t, h = min(max(place.t + shift, low), high), 1e-5 * length
                here = _form(candidates, place, t, form)
                rate = (_form(candidates, place, t + h, form) - here) / h
                weight = 1 / v.square().sum(1, keepdim=True).clamp_min(1e-12)
                top += float((weight * rate * (v - here)).sum())
                bottom += float((weight * rate * rate).sum())
            shift += top / max(bottom, 1e-300)
        if not abs(shift) < 0.1 * length:
            shift = 0.0
        words, name = _step(shift, length)
        for k, place in enumerate(found):
            t = min(max(place.t + shift, low), high)
            out[k].append(
                Candidate(name, words, _form(candidates, place, t, form).view_as(place.x))
            )
    return out


def _form(candidates: Candidates, place: Place, t: float, form: int) -> Tensor:
    for k, candidate in enumerate(candidates.shifted(place, t, "")):
        if k == form:
            return candidate.value.flatten(1)
    raise IndexError(form)


def _step(shift: float, length: float) -> tuple[str, str]:
    """A shift in words, and its name: a step of a usual grid, or any shift."""
    for steps in (10, 18, 20, 25, 32, 35, 40, 50, 64, 100, 128, 200, 250, 256, 500, 512, 1000):
        for count in (steps, steps - 1):
            if abs(abs(shift) * count / length - 1) < 2e-3:
                words = f"by {shift:.4g}, a step of a grid of {count} steps"
                return words, "off-by-one grid"
    return f"by {shift:.4g}", "time shift"
