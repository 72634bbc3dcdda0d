r"""The default solver as a sampler of k-diffusion, for the interfaces that are built on it.

The model states the denoised image, E[x_0 | x], at points x and a noise level. The state is
:math:`x_0 + \sigma n`, or on the straight path of flow matching :math:`(1 - \sigma) x_0 +
\sigma n`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from diffode.doors import single
from diffode.fields.schedules import Karras, Rectified, Schedule
from diffode.interop.stepping import StepwisePath


@torch.no_grad()
def sample_diffode(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    own_grid: bool = False,
    flow: bool | None = None,
    std: float = 1.0,
    principal_std: float | None = None,
    guidance_scale: float | None = None,
) -> Tensor:
    r"""Sample with the default solver, in the signature of k-diffusion's samplers.

    Arguments:
        model: ``model(x, sigma, **extra_args)``, the denoised points, guided or not.
        x: the points at the first level, shape (B, \*event).
        sigmas: the falling levels, shape (K + 1,), of which the last may be 0: K evaluations.
        extra_args: more arguments of the model.
        callback: called after each evaluation with ``x``, ``i``, ``sigma``, ``sigma_hat`` and
            ``denoised``.
        disable: taken and not used: there is no progress bar.
        own_grid: put the levels between the first and the last where the default's grid has them.
        flow: whether the path is the straight one; None asks the model, as ComfyUI's states it.
        std, principal_std: of the data, see `diffode.interop.stepping`.
        guidance_scale: the guidance weight w; None: not known.

    Raises:
        ValueError: levels that do not fall.
    """
    levels = sigmas.detach().double().cpu()
    if levels.ndim != 1 or len(levels) < 2 or not bool((levels.diff() < 0).all()):
        raise ValueError("got sigmas that do not fall; wanted two falling levels or more")
    straight = is_flow(model) if flow is None else flow
    schedule = _Levels(straight, float(levels[0]), float(levels[levels > 0][-1]))
    solver = StepwisePath(schedule, std, principal_std, guidance_scale)
    times, end = levels[:-1], float(levels[-1]) or None
    if own_grid and len(times) > 1:
        times = (solver.times if end is None else solver.between)(len(times))
    walk = solver.walk(times, single(x), end)
    state = single(x)
    for i, t in enumerate(times.tolist()):
        denoised = model(x, x.new_full((len(x),), t), **(extra_args or {}))
        if callback is not None:
            callback({"x": x, "i": i, "sigma": t, "sigma_hat": t, "denoised": denoised})
        x0 = denoised.to(state)
        n = (x.to(state) - (1 - t if straight else 1.0) * x0) / t
        state = walk.advance(state, x0, n)
        x = state.to(x.dtype)
    return x


class _Levels(Schedule):
    """The path between two levels, its time being sigma."""

    def __init__(self, straight: bool, first: float, last: float) -> None:
        self.path = Rectified() if straight else Karras()
        self.span = (first, last)

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data."""
        return self.path.alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise, t."""
        return t

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma / alpha equals rho."""
        return self.path.time(rho)


def is_flow(model: object) -> bool:
    """Whether a model says that its path is the straight one, as ComfyUI's do."""
    for _ in range(3):
        kind = getattr(model, "model_sampling", None)
        if kind is not None:
            return any(base.__name__ == "CONST" for base in type(kind).__mro__)
        model = getattr(model, "inner_model", None)
    return False
