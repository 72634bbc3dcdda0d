"""torchdiffeq and flow_matching in the model's own time."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers_problem import End, Peer, Problem, Spent

FIXED = {"euler": 1, "midpoint": 2, "heun3": 3, "rk4": 4}
TOLERANCES = [10.0 ** (-k / 2) for k in range(0, 15)]


def velocity(p: Problem, x: Tensor, t: Tensor) -> Tensor:
    """The velocity of the model's own ODE: one call."""
    alpha, sigma, d_alpha, d_sigma = p.schedule.rates(t.double())
    x0, n = p.posterior(x, alpha, sigma)
    return d_alpha * x0 + d_sigma * n


def _end(p: Problem, x: Tensor) -> End:
    return End(x / p.level(p.schedule.span[1])[0], p.rho_data)


def fixed(method: str, p: Problem, nfe: int) -> End | None:
    """Equal steps in t."""
    from torchdiffeq import odeint

    steps = nfe // FIXED[method]
    if not steps:
        return None
    first, last = p.schedule.span
    times = torch.linspace(first, last, steps + 1, dtype=torch.float64)
    x = odeint(lambda t, x: velocity(p, x, t), p.start(*p.level(first)), times, method=method)
    return _end(p, x[-1])


def adaptive(method: str, p: Problem, nfe: int) -> End | None:
    """The tightest tolerance, of half decades, that ``nfe`` calls pay for."""
    from torchdiffeq import odeint

    first, last = p.schedule.span
    times = torch.tensor([first, last], dtype=torch.float64)
    if method not in p.memo:
        runs = []
        p.limit = 100
        for tolerance in TOLERANCES:
            p.calls = 0
            try:
                x = odeint(
                    lambda t, x: velocity(p, x, t),
                    p.start(*p.level(first)),
                    times,
                    method=method,
                    rtol=tolerance,
                    atol=tolerance,
                    options={"step_t": times[1:]},
                )
            except (Spent, AssertionError):
                continue
            runs.append((p.calls, x[-1]))
        p.memo[method] = runs
    affordable = [run for run in p.memo[method] if run[0] <= nfe]
    if not affordable:
        return None
    p.calls, x = affordable[-1]
    return _end(p, x)


def log_z(p: Problem, tolerances: list[float]) -> list[tuple[End, int]]:
    """PFGM's sampler, RK45 of scipy in log rho on the whole batch: its ends and calls."""
    from scipy.integrate import solve_ivp

    x = p.start(1.0, p.rho_max)
    span = (math.log(p.rho_max), math.log(p.rho_data))

    def slope(u: float, state: np.ndarray) -> np.ndarray:
        rho = math.exp(u)
        n = p.posterior(torch.from_numpy(state).view_as(x), 1.0, rho)[1]
        slopes: np.ndarray = (rho * n).numpy().ravel()
        return slopes

    found = []
    p.limit = 10**9
    for tolerance in tolerances:
        p.calls = 0
        s = solve_ivp(slope, span, x.numpy().ravel(), "RK45", rtol=tolerance, atol=tolerance)
        end = torch.from_numpy(s.y[:, -1]).view_as(x)
        found.append((End(end, p.rho_data), p.calls))
    return found


def peers() -> list[Peer]:
    """torchdiffeq's fixed and adaptive methods."""
    every = ("vp", "edm", "rect")
    found = [Peer(f"torchdiffeq {m} uniform t", every, partial(fixed, m)) for m in FIXED]
    return found + [
        Peer(f"torchdiffeq {m} adaptive, native t", every, partial(adaptive, m))
        for m in ("dopri5", "bosh3")
    ]


def _matching(method: str, p: Problem, nfe: int) -> End | None:
    from flow_matching.solver import ODESolver

    steps = nfe // FIXED[method]
    if not steps:
        return None

    def model(x: Tensor, t: Tensor) -> Tensor:
        x0, n = p.posterior(x, t, 1 - t)  # data at t = 1
        return x0 - n

    grid = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    x = ODESolver(model).sample(p.start(0.0, 1.0), None, method=method, time_grid=grid)
    return End(x, 0.0)


def flow_matching() -> list[Peer]:
    """flow_matching's ODE solver, from t = 0 to 1."""
    return [Peer(f"flow_matching {m}", ("rect",), partial(_matching, m)) for m in FIXED]
