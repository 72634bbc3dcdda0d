"""Solvers as tables of numbers: what each of their steps multiplies and adds.

The coefficients come from `diffode.solvers`, for data of mean 0 and standard deviation 1 that are
as wide in all directions. The page's script applies them and makes none itself.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffode.fields import VE, VP, Cosine, Empirical, Karras, Rectified, Schedule, SubVP
from diffode.sampling.choosing import choose
from diffode.solvers.coefficients import Correction, StepCoefficients, Update, table
from diffode.solvers.multistep import Multistep, nodes_of

SCHEDULES: dict[str, Schedule] = {
    "vp": VP(),
    "subvp": SubVP(),
    "ve": VE(),
    "karras": Karras(),
    "rectified": Rectified(),
    "cosine": Cosine(),
}
SOLVERS = ("default", "euler", "heun", "ddim", "dpm++", "unipc", "deis")
EVALUATIONS = (4, 6, 10, 20, 35)
_ONE_STEP: dict[str, tuple[list[list[float]], list[float], list[int]]] = {
    "euler": ([[]], [1.0], [0]),
    "heun": ([[], [1.0]], [0.5, 0.5], [0, 1]),
}  # rows of the tableau, weights, and whether a stage is at the end of the step


@lru_cache(maxsize=len(SCHEDULES))
def unit_field(schedule: Schedule) -> Empirical:
    """An exact field of mean 0 and standard deviation 1, along its main axes too."""
    corners = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    return Empirical(torch.tensor(corners, dtype=torch.float64), schedule)


@lru_cache(maxsize=1)
def tables() -> dict[str, dict[str, dict[str, Any]]]:
    """The table of each schedule, solver and number of evaluations, as JSON holds them."""
    return {
        name: {
            solver: {str(nfe): solver_table(schedule, solver, nfe) for nfe in EVALUATIONS}
            for solver in SOLVERS
        }
        for name, schedule in SCHEDULES.items()
    }


def solver_table(schedule: Schedule, name: str, nfe: int) -> dict[str, Any]:
    """What a solver does in so many evaluations, at most, as ``diffode.sample`` chooses it.

    Arguments:
        schedule: of the field.
        name: of the solver, one of `SOLVERS`.
        nfe: evaluations, a last one to denoise included.

    Returns:
        ``levels`` alpha and sigma at each time, ``steps``, ``last`` whether the end is denoised
        by an evaluation more, and ``nfe``, the evaluations that are spent.
    """
    field = unit_field(schedule)
    choice = choose(field, name, nfe, None, None, "denoise", {})
    times, last = choice.times, not choice.to_zero_noise
    levels = _pairs(schedule, times)
    if choice.to_zero_noise:
        levels[-1] = [1.0, 0.0]
    if isinstance(choice.solver, Multistep):
        rule = choice.solver.rule(len(times) - 1, field)
        made = table(rule, nodes_of(rule, field, times, choice.to_zero_noise))
        steps = [_multistep(step) for step in made]
    elif name == "ddim":
        steps = [{"x0": 0.0, "n": 1.0} for _ in levels[1:]]
    else:
        steps = [_one_step(schedule, name, t, to) for t, to in pairwise(times)]
    spent = choice.solver.nfe_per_step * len(steps) + last
    return {"levels": levels, "steps": steps, "last": last, "nfe": spent}


def _pairs(schedule: Schedule, times: Tensor) -> list[list[float]]:
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    alpha = alpha.where(alpha >= 1e-9 * sigma, torch.zeros_like(alpha))  # cos(pi / 2) is not 0
    pairs: list[list[float]] = torch.stack((alpha, sigma), 1).tolist()
    return pairs


def _multistep(step: StepCoefficients) -> dict[str, Any]:
    """The numbers of a step; a mean of 0 leaves the mean's own away."""
    out: dict[str, Any] = {"x0": _number(step.x0), "n": _number(step.n)}
    if step.go is not None:
        out |= {"keep": float(step.go.keep), "weights": _weights(step.go)}
    if step.correct is not None:
        out |= {"more": _weights(step.correct), "fraction": float(step.correct.fraction)}
    if step.freeze_threshold is not None:
        out["freeze"] = float(step.freeze_threshold)
    return out


def _weights(of: Update | Correction) -> list[float]:
    return [float(w) for w in of.weights]


def _number(value: Tensor | None) -> float:
    return 0.0 if value is None else float(value)


def _one_step(schedule: Schedule, name: str, t: Tensor, to: Tensor) -> dict[str, Any]:
    tableau, weights, places = _ONE_STEP[name]
    stages = []
    for row, place in zip(tableau, places, strict=True):
        rates = [float(v) for v in schedule.rates(torch.stack((t, to))[place])]
        stages.append([*rates, row])
    return {"h": float(to - t), "stages": stages, "sum": weights}
