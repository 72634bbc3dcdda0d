r"""Affine paths in the frame of corruptions: there the steps are DDIM's and DDPM's.

The path :math:`x_t = \alpha_t x_0 + \sigma_t n` with the guess :math:`\hat x_0 = E[x_0 | x_t]` is
a `Corrupting` field, and the solver "revise" takes the steps of "ddim" on it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.doors import as_state
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.corruption import Corrupting, Corruption
from diffode.fields.noise import require_independent, require_score
from diffode.rng import Rng


class AffineCorruption(Corruption):
    r"""The corruption of an affine field's path, and the step that keeps its noise or a part.

    .. math:: x_s = \alpha_s x_0 + \sqrt{\sigma_s^2 - f^2} \, \frac{x_t - \alpha_t x_0}{\sigma_t}
              + f z, \qquad f^2 = \eta^2 \sigma_s^2 (1 - \rho_s^2 / \rho_t^2).

    Reference: Song et al. (2021), https://arxiv.org/abs/2010.02502, eq. 7 and 16.

    Arguments:
        field: whose path it is.
        eta: the fraction of fresh noise: 0 is DDIM's step, 1 DDPM's; above 0 for normal noise.

    Raises:
        ValueError: eta outside of [0, 1].
        TypeError: eta above 0 for other noise than normal, or noise coupled with the data; a field
            without a prior.
    """

    def __init__(self, field: AffineField, eta: float = 0.0) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"got eta {eta}; wanted a number from 0 to 1")
        if eta:
            require_score(field.noise)
            require_independent(field.coupled, "eta above 0, which adds noise,")
        if field.prior is None:
            raise TypeError(f"{type(field).__name__} has no prior that its path could start from")
        self.field, self.prior, self.eta = field, field.prior, float(eta)
        self.span, self.event_shape = field.span, tuple(field.event_shape)

    def start(self, n: int, rng: Rng, device: torch.device | str = "cpu") -> Tensor:
        """Draw n states at t_prior."""
        return self.prior.sample((n, *self.event_shape), rng, device=device)

    def corrupt(self, x0: Tensor, t: Tensor | float, rng: Rng) -> Tensor:
        """Draw x_t given x_0."""
        return self.field.corrupt(x0, t, rng)[0]

    def step(
        self, x: Tensor, x0: Tensor, t: Tensor | float, s: Tensor | float, rng: Rng
    ) -> Tensor:
        """Draw x_s given x_t and x_0."""
        x = as_state(x, self.event_shape)
        alpha, sigma = (expand_like(v, x) for v in self.field.level(t, x))
        alpha_s, sigma_s = (expand_like(v, x) for v in self.field.level(s, x))
        n = (x - alpha * x0) / sigma
        if not self.eta:
            return alpha_s * x0 + sigma_s * n
        ratio = sigma_s * alpha / (sigma * alpha_s)
        fresh = self.eta * sigma_s * (1 - ratio.square()).clamp_min(0).sqrt()
        z = rng.normal("ddim", x.shape, x.dtype, x.device)
        return alpha_s * x0 + (sigma_s.square() - fresh.square()).sqrt() * n + fresh * z

    def __repr__(self) -> str:
        return f"AffineCorruption({self.field.schedule!r}, eta={self.eta:g})"


class Denoised(Corrupting):
    r"""An affine field as a corruption with the guess :math:`\hat x_0 = E[x_0 | x_t]`.

    Arguments:
        field: the affine field.
        eta: of `AffineCorruption`.
    """

    corruption: AffineCorruption

    def __init__(self, field: AffineField, eta: float = 0.0) -> None:
        super().__init__(AffineCorruption(field, eta))
        self.inner, self.classes, self.scaling = field, field.classes, field.scaling

    def guess(self, x: Tensor, t: Tensor | float, rng: Rng, y: Tensor | None = None) -> Tensor:
        """The conditional mean: nothing is drawn."""
        return self.inner.denoise(x, t, y)
