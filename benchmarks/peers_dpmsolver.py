"""The authors' DPM-Solver and DPM-Solver++, for variance-preserving models."""

from __future__ import annotations

from functools import partial

from dpm_solver_pytorch import DPM_Solver, NoiseScheduleVP, model_wrapper
from torch import Tensor

from benchmarks.peers_problem import End, Peer, Problem
from diffode.fields import VP


def solve(
    algorithm: str, method: str, order: int, spacing: str, p: Problem, nfe: int
) -> End | None:
    """One run of ``nfe`` calls, on the one schedule that is in both."""
    if nfe < order or type(p.schedule) is not VP:
        return None
    noise = NoiseScheduleVP("linear", continuous_beta_0=0.1, continuous_beta_1=20.0)

    def model(x: Tensor, t: Tensor) -> Tensor:
        at = t[:1].double()
        return p.posterior(x, noise.marginal_alpha(at), noise.marginal_std(at))[1]

    first, last = p.schedule.span
    solver = DPM_Solver(model_wrapper(model, noise), noise, algorithm_type=algorithm)
    x = solver.sample(
        p.start(*p.level(first)),
        steps=nfe,
        t_start=first,
        t_end=last,
        order=order,
        skip_type=spacing,
        method=method,
    )
    return End(x / p.level(last)[0], p.rho_data)


def peers() -> list[Peer]:
    """Both algorithms, single- and multistep, orders 2 and 3, on every spacing."""
    found = []
    for algorithm in ("dpmsolver", "dpmsolver++"):
        for method in ("multistep", "singlestep"):
            for order in (2, 3):
                for spacing in ("time_uniform", "time_quadratic", "logSNR"):
                    label = f"dpm-solver {algorithm} {method[:-4]}{order} {spacing}"
                    run = partial(solve, algorithm, method, order, spacing)
                    found.append(Peer(label, ("vp",), run))
    return found
