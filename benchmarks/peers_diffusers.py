"""diffusers' deterministic schedulers, the model asked at each scheduler's exact noise level.

As shipped, a pipeline asks the model at a rounded timestep; here it is asked at the sigma that
the scheduler steps with, which is never worse.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from torch import Tensor

from benchmarks.peers_problem import End, Peer, Problem

diffusers_logging.set_verbosity(logging.ERROR)
SIGMA_DATA = 0.5
SPACINGS: dict[str, dict[str, Any]] = {
    "linspace": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


def _betas(p: Problem) -> list[float]:
    """A thousand betas whose noise levels are the model's own at equal times."""
    first, last = p.schedule.span
    t = torch.linspace(last, first, 1000, dtype=torch.float64)
    signal = p.schedule.alpha(t).square() / (
        p.schedule.alpha(t).square() + p.schedule.sigma(t).square()
    )
    ratio = signal / torch.cat([torch.ones(1, dtype=torch.float64), signal[:-1]])
    return (1 - ratio).tolist()


def _vp(sigma: float) -> tuple[float, float]:
    alpha = 1 / (1 + sigma * sigma) ** 0.5
    return alpha, sigma * alpha


def _flow(sigma: float) -> tuple[float, float]:
    return 1 - sigma, sigma


def _ve(sigma: float) -> tuple[float, float]:
    return 1.0, sigma


def solve(
    make: Callable[[Problem], Any],
    level: Callable[[float], tuple[float, float]],
    output: str,
    calls: int,
    p: Problem,
    nfe: int,
) -> End | None:
    """One run with at most ``nfe`` calls.

    Arguments:
        make: the scheduler for a problem.
        level: alpha and sigma for the scheduler's own sigma.
        output: what the model hands over, "noise", "velocity" or "edm".
        calls: calls a step (all but the last, which takes one).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_default_dtype(torch.float32)  # the schedulers' own coefficients
        scheduler = make(p)
        scheduler.set_timesteps((nfe + calls - 1) // calls)
        scheduler.set_begin_index(0)
        sigmas = scheduler.sigmas.tolist()
        if not all(a >= b for a, b in pairwise(sigmas)):
            return None  # its own grid does not descend
        x = p.start(*level(sigmas[0]))
        for i, t in enumerate(scheduler.timesteps):
            at = level(sigmas[i])
            x0, n = p.posterior(x, *at)
            answer = {"noise": n, "velocity": n - x0}.get(output)
            if answer is None:
                answer = _edm_output(x, x0, at[1])
            x = scheduler.step(answer, t, x).prev_sample
        alpha, sigma = level(sigmas[-1])
    return End(x.double() / alpha, sigma / alpha)


def _edm_output(x: Tensor, x0: Tensor, sigma: float) -> Tensor:
    total = sigma**2 + SIGMA_DATA**2
    return (x0 - SIGMA_DATA**2 / total * x) * (total**0.5 / (sigma * SIGMA_DATA))


def _discrete(name: str, options: dict[str, Any], p: Problem) -> Any:  # noqa: ANN401
    kind = getattr(diffusers, name)
    if "sigma_min" in options:
        options = options | {"sigma_min": p.rho_data, "sigma_max": p.rho_max}
        return kind(**options)
    betas = np.asarray(_betas(p)) if p.kind == "vp" else None
    return kind(trained_betas=betas, **options)


def _edm(name: str, options: dict[str, Any], p: Problem) -> Any:  # noqa: ANN401
    ends = {"sigma_min": p.rho_data, "sigma_max": p.rho_max}
    return getattr(diffusers, name)(sigma_data=SIGMA_DATA, **ends, **options)


def _plain(name: str, options: dict[str, Any], p: Problem) -> Any:  # noqa: ANN401
    return getattr(diffusers, name)(**options)


def _ddim(p: Problem, nfe: int) -> End | None:
    scheduler = diffusers.DDIMScheduler(
        trained_betas=np.asarray(_betas(p)), clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(nfe)
    signal = scheduler.alphas_cumprod.double()
    x = None
    for t in scheduler.timesteps:
        level = float(signal[t].sqrt()), float((1 - signal[t]).sqrt())
        x = p.start(*level) if x is None else x
        x = scheduler.step(p.posterior(x, *level)[1], t, x).prev_sample
    return None if x is None else End(x, 0.0)


def _family(label: str, name: str, orders: tuple[int, ...], options: dict[str, Any]) -> list[Peer]:
    """A multi-order scheduler on VP spacings and on flow sigmas."""
    found = []
    for order in orders:
        settings = {"solver_order": order, **options}
        for spacing, extra in SPACINGS.items():
            make = partial(_discrete, name, settings | extra)
            run = partial(solve, make, _vp, "noise", 1)
            found.append(Peer(f"diffusers {label}{order} {spacing}", ("vp",), run))
        if "final_sigmas_type" not in options:
            for shift in (1.0, 3.0):
                make = partial(_plain, name, settings | FLOW | {"flow_shift": shift})
                run = partial(solve, make, _flow, "velocity", 1)
                note = "" if shift == 1 else f", shift {shift:g}"
                found.append(Peer(f"diffusers {label}{order} flow{note}", ("rect",), run))
    return found


def peers() -> list[Peer]:
    """DPM-Solver, DPM-Solver++, UniPC, DEIS, Euler, Heun, DDIM, EDM and flow schedulers."""
    multi, single = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
    noise = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
    found = [
        *_family("DPM++M", multi, (2, 3), {}),
        *_family("DPM-M", multi, (2, 3), noise),
        *_family("DPM++S", single, (2, 3), {"lower_order_final": True}),
        *_family("UniPC", "UniPCMultistepScheduler", (2, 3), {}),
        *_family("DEIS", "DEISMultistepScheduler", (2, 3), {}),
        Peer("diffusers DDIM trailing", ("vp",), _ddim),
    ]
    for order in (2, 3):
        for spacing in ("karras", "exponential"):
            settings = {"solver_order": order, "sigma_schedule": spacing}
            make = partial(_edm, "EDMDPMSolverMultistepScheduler", settings)
            run = partial(solve, make, _ve, "edm", 1)
            found.append(Peer(f"diffusers EDM DPM++{order}M {spacing}", ("edm",), run))
            settings = {"solver_order": order, "sigma_min": 0.0, **SPACINGS[spacing]}
            make = partial(_discrete, "UniPCMultistepScheduler", settings)
            run = partial(solve, make, _vp, "noise", 1)
            found.append(Peer(f"diffusers UniPC{order} {spacing}, EDM", ("edm",), run))
    euler = partial(_edm, "EDMEulerScheduler", {})
    found.append(Peer("diffusers EDMEuler karras", ("edm",), partial(solve, euler, _ve, "edm", 1)))
    for label, calls in (("Euler", 1), ("Heun", 2)):
        for spacing in ("linspace", "karras"):
            make = partial(_discrete, f"{label}DiscreteScheduler", SPACINGS[spacing])
            run = partial(solve, make, _ve, "noise", calls)
            found.append(Peer(f"diffusers {label} {spacing}", ("vp",), run))
        make = partial(_plain, f"FlowMatch{label}DiscreteScheduler", {})
        run = partial(solve, make, _flow, "velocity", calls)
        found.append(Peer(f"diffusers FlowMatch{label}", ("rect",), run))
    return found
