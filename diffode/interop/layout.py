"""The times of one solve as another library's loop sees them: what a network is told there."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.fields.precond import Coefficients
from diffode.fields.schedules import Rectified
from diffode.interop.paths import SchedulerPath
from diffode.interop.stepping import StepwisePath, shifted

_NOISIEST = 164.0  # of a network that states the noise; Lu et al. (2022), lambda above -5.1


class Layout:
    """Evaluation times with what the network's outputs mean at each.

    Attributes:
        times: the schedule's own, float64 of float32 values.
        told: what the network is told at each, float32.
        outputs: the coefficients of the prediction at each.
        sigmas: sigma / alpha at each, of flow matching sigma, and 0 for the end.

    Arguments:
        path: of the model.
        steps: the solver on it.
        times: of the evaluations.
    """

    def __init__(self, path: SchedulerPath, steps: StepwisePath, times: Tensor) -> None:
        self.path, self.steps = path, steps
        self.times = times.float().double()
        alpha, sigma = steps.levels(self.times)
        self.outputs = [self._output(*at) for at in zip(alpha, sigma, self.times, strict=True)]
        self.told = torch.cat([c.cond.reshape(1) for c in self.outputs]).float()
        self._values = self.told.tolist()
        levels = sigma if isinstance(path.schedule, Rectified) else sigma / alpha
        self.sigmas = torch.cat((levels, levels.new_zeros(1)))

    def means(self, k: int, x: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """The conditional means of data and noise by an output at the k-th time."""
        c = self.outputs[k]
        factors = (c.skip, c.out, c.noise_skip, c.noise_out)
        skip, out, noise_skip, noise_out = (v.to(x) for v in factors)
        return skip * x + out * output, noise_skip * x + noise_out * output

    def index(self, told: float | Tensor | None, expected: int) -> int:
        """The index of a step: the expected one, or that at which the network is told this.

        Raises:
            ValueError: the network is told this at no step.
        """
        value = None if told is None else float(torch.as_tensor(told).reshape(-1)[0])
        if value is None or self._values[expected : expected + 1] == [value]:
            return expected
        if value in self._values:
            return self._values.index(value)
        raise ValueError(
            f"got the timestep {value:g}; wanted one of scheduler.timesteps: "
            f"{', '.join(f'{t:g}' for t in self._values)}"
        )

    def native(self, told: Tensor) -> Tensor:
        """The schedule's times at which the network is told these, shape (B,)."""
        known = {value: k for k, value in enumerate(self._values)}
        values = told.float().tolist()
        if all(value in known for value in values):
            return self.times[[known[value] for value in values]]
        return native(self.path, told)

    def _output(self, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        return self.path.prediction.coefficients(t.reshape(1), alpha, sigma, t)


def native(path: SchedulerPath, told: Tensor) -> Tensor:
    """The schedule's times at which a network is told these, shape (K,), by bisection."""
    noisy, clean = (torch.full_like(told, t) for t in path.schedule.span)
    for _ in range(64):
        middle = (noisy + clean) / 2
        alpha, sigma = path.schedule.alpha(middle), path.schedule.sigma(middle)
        c = path.prediction.coefficients(middle, alpha, sigma, middle)
        above = c.cond.reshape(-1) > told
        noisy, clean = torch.where(above, middle, noisy), torch.where(above, clean, middle)
    return clean


def of_sigmas(path: SchedulerPath, sigmas: Tensor, shift: float) -> Tensor:
    """The schedule's times of sigma / alpha, of flow matching of sigma before its shift.

    A 0 at the end, where nothing is evaluated, is left out.
    """
    sigmas = sigmas[:-1] if len(sigmas) and float(sigmas[-1]) == 0 else sigmas
    if isinstance(path.schedule, Rectified):
        return shifted(sigmas, shift)
    return path.schedule.time(sigmas)


def falling(path: SchedulerPath, times: Tensor) -> Tensor:
    """Times that a solve can take, within the span but for rounding.

    Raises:
        ValueError: none, times that do not fall, or some outside of the schedule's span.
    """
    first, last = path.schedule.span
    inside = times.clamp(*sorted((first, last)))
    if times.ndim != 1 or not len(times):
        raise ValueError(f"got timesteps or sigmas of shape {tuple(times.shape)}; wanted a list")
    if not bool(((inside - times).abs() <= 0.01 * abs(first - last)).all()):
        raise ValueError(
            f"got noise levels outside of the model's, whose times go from {first:g} to {last:g}"
        )
    if not bool((inside.diff() * (last - first) > 0).all()):
        raise ValueError("got timesteps or sigmas that do not fall; wanted falling ones")
    return inside


def first_time(path: SchedulerPath) -> float:
    """Where a solve of the path begins.

    A network that states the noise says little of the data where alpha all but vanishes: its
    error counts sigma / alpha times. There the solve begins at the level 164, where the start
    differs from pure noise by less than a hundredth.

    Reference: Lu et al. (2022), https://arxiv.org/abs/2211.01095, appendix on cosine schedules.
    """
    first = path.schedule.span[0]
    t = torch.tensor([first], dtype=torch.float64)
    alpha, sigma = path.schedule.alpha(t), path.schedule.sigma(t)
    c = path.prediction.coefficients(t, alpha, sigma, t)
    by_noise = bool((c.out / sigma).abs() > 1.01 * _NOISIEST)
    return float(path.schedule.time(t.new_tensor(_NOISIEST))) if by_noise else first
