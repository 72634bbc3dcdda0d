r"""The scale of Student-t noise as an integration variable.

Student-t noise with D degrees of freedom is normal noise of a random scale, :math:`n = \lambda z`
with :math:`\lambda = \sqrt{D} / \chi_D`; where the data is Gaussian this leaves a one-dimensional
integral.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

_DIGITS = 36.0  # the integral leaves out and errs by e^-36 of the whole
_FARTHEST = 340.0  # of w: e^2w and its inverse are numbers


class Scales:
    r"""Trapezoid nodes for the scale :math:`\lambda = \sqrt{D} / \chi_D` of Student-t noise.

    The integral is over :math:`u = -\log \lambda`, whose density is :math:`\propto e^{D (u -
    e^{2u} / 2)}`; the integrand is this density times those of the Gaussians in N dimensions.

    The trapezoid rule is accurate for an integrand that stays small for complex u near the real
    axis. At distance :math:`\theta < \pi / 4` from the axis this one has grown by a factor of
    at most :math:`\cos(2 \theta)^{-(D+N)/2}`. The error of a step h is that factor times
    :math:`e^{-2 \pi \theta / h}`, for the best such :math:`\theta`. The step is the longest for
    which it is below :math:`e^{-36}` of the whole.

    The nodes are the multiples of the step in :math:`w = \log \rho - u`, the same for all
    points. They cover the interval outside of which the integrand has no more than
    :math:`e^{-36}` of the whole.

    Arguments:
        dof: degrees of freedom D.
        dim: the number N of coordinates.
    """

    def __init__(self, dof: float, dim: int) -> None:
        self.dof, self.most = dof, dof + dim
        theta = torch.linspace(0.01, math.pi / 4 - 1e-4, 1000, dtype=torch.float64)
        growth = -self.most / 2 * torch.log(torch.cos(2 * theta))
        self.step = float((2 * math.pi * theta / (_DIGITS + growth)).max())
        self.high = math.log(self.most / dof) / 2 + _fall(self.most, 1.0)
        part = dof + 0.9 * dim
        self.low, self.part_low = _fall(dof, -1.0), _fall(part, -1.0)
        self.part_mode = math.log(part / dof) / 2
        u = torch.arange(self.low, self.high, self.step, dtype=torch.float64)
        self.log_norm = -float(torch.logsumexp(self.log_density(u), 0))

    def log_density(self, u: Tensor) -> Tensor:
        """The log-density of u, up to a constant."""
        return self.dof * (u - torch.expm1(2 * u) / 2)

    def nodes(self, rho: Tensor, far: Tensor, widest: float) -> Tensor:
        r"""The nodes w for points of which the squared distances from the means are bounded.

        The logarithm of the integrand has at most the slope in u of a chi with D + N degrees of
        freedom, and at least that of one with D, of scale :math:`(1 + R^2 / D \rho^2)^{-1/2}`; of
        one with D + 0.9 N where the noise is nine times the largest variance.

        Arguments:
            rho: shape (B, 1).
            far: R^2, shape (B, 1).
            widest: the largest variance.
        """
        rho, far = rho.detach(), far.detach()
        shrink = torch.log1p(far / (self.dof * rho.square())) / 2
        noisy = (rho.square() / (9 * widest)).log() / 2 + shrink
        low = noisy.clamp_max(self.part_mode) + self.part_low
        low = low.clamp_min(self.low) - shrink
        bounds = torch.stack((self.high - rho.log(), rho.log() - low))
        bounds = bounds.nan_to_num(0.0).clamp(-_FARTHEST, _FARTHEST)
        first, last = (math.ceil(float(_largest(v)) / self.step) for v in bounds)
        w = torch.arange(-first, last + 1, dtype=torch.float64, device=rho.device)
        return w * self.step


def _fall(dof: float, side: float) -> float:
    """Where the log-density of u = -log lambda has fallen by ``_DIGITS``, on one side of 0."""
    near, far = 0.0, side * (_DIGITS / dof + 3 + math.log1p(_DIGITS / dof))
    for _ in range(100):
        middle = (near + far) / 2
        if dof * (middle - math.expm1(2 * middle) / 2) > -_DIGITS:
            near = middle
        else:
            far = middle
    return far


class _Largest(torch.autograd.Function):
    """The largest entry, over every batch of `torch.vmap` as well, so that it is a number."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.max()

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: object, in_dims: tuple[int | None], x: Tensor) -> tuple[Tensor, None]:
        return _largest(x), None


def _largest(x: Tensor) -> Tensor:
    largest: Tensor = _Largest.apply(x.detach())  # type: ignore[no-untyped-call]
    return largest
