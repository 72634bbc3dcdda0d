r"""Fields as denoisers of other libraries, for their samplers.

A field's conditional mean of the data is their denoiser. k-diffusion has states
:math:`x / \alpha = x_0 + \rho n` and calls :math:`\rho = \sigma / \alpha` sigma; azula has the
field's own states, and times from 0 at the data to 1 at the noise.

References: Karras et al. (2022), https://arxiv.org/abs/2206.00364.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffode.doors import Numbers, as_state, as_time
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.priors import is_normal
from diffode.warned import warn

if TYPE_CHECKING:
    from azula.denoise import Denoiser

_ROUNDED = 1e-4  # relative, of a noise level in float32
_WIDEST = 160.0  # of a path that reaches pure noise: EDM's 80 for data of standard deviation .5


def _require_denoiser(field: object, library: str) -> AffineField:
    """A field whose samplers elsewhere start from and add normal noise.

    Raises:
        TypeError: a field that is not affine, or has other noise.
    """
    if not isinstance(field, AffineField):
        kind = type(field).__name__
        raise TypeError(f"got a {kind}; wanted an AffineField, which has a denoiser")
    if field.decay is not None:
        raise TypeError(
            f"the field has a noise level for each frequency, and samplers of {library} one for "
            "all; sample it here"
        )
    if not is_normal(field.noise):
        raise TypeError(
            f"the field has {field.noise} noise, and samplers of {library} start from and add "
            "normal noise; sample it here"
        )
    if field.coupled:
        warn(
            f"the field was trained on coupled pairs of data and noise; samplers of {library} "
            "that add noise, as ancestral ones, are wrong for it: take one that adds none"
        )
    return field


class KDiffusionDenoiser(nn.Module):
    r"""A field as a denoiser of k-diffusion, :math:`D(x, \rho) = E[x_0 | x_t = \alpha_t x]`.

    Arguments:
        field: with normal noise.

    Attributes:
        sigma_min, sigma_max: the least and the largest noise level that it knows; 160 times the
            data's standard deviation, where its path reaches pure noise.
    """

    def __init__(self, field: AffineField) -> None:
        super().__init__()
        self.field = field
        self.sigma_min, most = field.levels
        self.sigma_max = most if math.isfinite(most) else _WIDEST * field.moments[1]

    def forward(self, x: Tensor, sigma: Tensor, class_cond: Numbers | None = None) -> Tensor:
        r"""The denoised x, shape (B, \*event).

        Arguments:
            x: data plus noise, shape (B, \*event).
            sigma: its standard deviation, shape () or (B,).
            class_cond: labels, shape (B,).

        Raises:
            ValueError: a noise level that the field does not know.
        """
        x = as_state(x, self.field.event_shape)
        least, most = self.field.levels
        level = as_time(sigma, x)
        if not bool(((level >= least * (1 - _ROUNDED)) & (level <= most * (1 + _ROUNDED))).all()):
            low, high = (float(v) for v in level.aminmax())
            raise ValueError(
                f"got sigma from {low:.6g} to {high:.6g}; this field knows {least:.6g} to "
                f"{most:.6g}"
            )
        t = self.field.schedule.time(level.clamp(least, most))
        alpha = expand_like(self.field.schedule.alpha(t), x)
        y = self.field.as_labels(class_cond, len(x))
        return self.field.denoise(alpha * x, t, y)


def as_k_diffusion(field: AffineField) -> KDiffusionDenoiser:
    r"""A field as k-diffusion calls a model: ``model(x, sigma, **extra) -> denoised``.

    .. math:: D(x, \rho) = E[x_0 | x_t = \alpha_t x], \quad \rho = \sigma_t / \alpha_t

    Its samplers start from sigma_max times unit noise; labels are ``class_cond``.

    Arguments:
        field: with normal noise.

    Raises:
        TypeError: a field without a denoiser, or with other noise.
    """
    return KDiffusionDenoiser(_require_denoiser(field, "k-diffusion"))


def as_azula(field: AffineField) -> Denoiser:
    r"""A field as a denoiser of azula, on the field's own schedule.

    .. math:: \mu(x, s) = E[x_0 | x_t = x], \quad t = t_{data} + s (t_{prior} - t_{data})

    Labels are ``label``; azula's samplers start from ``sampler.init(shape)``.

    Arguments:
        field: with normal noise.

    Raises:
        TypeError: a field without a denoiser, or with other noise.
        ValueError: azula is not installed.
    """
    inner = _require_denoiser(field, "azula")
    try:
        from azula.denoise import Denoiser, DiracPosterior
        from azula.noise import Schedule
    except ImportError as error:
        raise ValueError(f"as_azula needs azula, which cannot be imported: {error}") from None

    first, last = inner.span

    def own(s: Tensor) -> Tensor:
        return last + s.to(torch.float64) * (first - last)

    class Levels(Schedule):  # type: ignore[misc]
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            levels = inner.schedule.alpha(own(t)), inner.schedule.sigma(own(t))
            return levels[0].to(t), levels[1].to(t)

    class FieldDenoiser(Denoiser):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.field, self.schedule = inner, Levels()

        def forward(
            self, x_t: Tensor, t: Tensor, label: Numbers | None = None, **_: object
        ) -> DiracPosterior:
            y = inner.as_labels(label, len(x_t))
            return DiracPosterior(mean=inner.denoise(x_t, own(t), y))

    return FieldDenoiser()
