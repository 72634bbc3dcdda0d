r"""The field of an interpolant that networks have learned.

One network is regressed on the rate, another on the noise, if there is noise,

.. math:: E \, |F_v - (\partial_t I + \dot\gamma z - r_t) / c|^2 + E \, |F_z - z|^2,

so that the flow takes one network an evaluation, and the score the other.

Reference: Albergo, Boffi and Vanden-Eijnden (2023), https://arxiv.org/abs/2303.08797, section 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffode.doors import as_labels, as_state, as_time
from diffode.fields.base import Start, expand_like
from diffode.fields.interpolant import Interpolant, InterpolantField
from diffode.fields.learned import _checked
from diffode.fields.starting import StartingPoints
from diffode.priors import Normal
from diffode.rng import Rng


class LearnedInterpolant(InterpolantField):
    r"""Networks for the rate and the noise of :math:`x_t = I(t, x_0, x_1) + \gamma(t) z`.

    Both are called as ``network(input, cond, y)`` with cond = t, shape (B, 1), and one more number
    with ``flip_label``, see `diffode.fields.Learned`. They see x less the curve between the two
    means, in units of its width; the rate's output is that less the rate of this curve.

    Arguments:
        interpolant: curve and noise, the noise 0 at both ends and of finite slope there.
        network: of the rate.
        noise_network: of the noise; None where there is none.
        mean: the data's mean, shape (\*event).
        std: the data's rms standard deviation.
        starting: the points that flows start from; None is the standard normal law.
        flip_label: whether the networks are told which images training has mirrored.

    Raises:
        ValueError: noise at an end or of infinite slope there, noise without its network or the
            reverse, a curve that does not end at its points, or starting points of another shape.
    """

    mean: Tensor

    def __init__(
        self,
        interpolant: Interpolant,
        network: nn.Module,
        noise_network: nn.Module | None,
        mean: Tensor,
        std: float,
        starting: StartingPoints | None = None,
        flip_label: bool = False,
    ) -> None:
        super().__init__(interpolant)
        ends, slopes = interpolant.level(torch.tensor([0.0, 1.0], dtype=torch.float64))
        if not bool((ends == 0).all() & slopes.isfinite().all()):
            raise ValueError(
                f"got gamma {interpolant.gamma}, which is {ends.tolist()} at t = 0 and 1, with "
                f"slopes {slopes.tolist()}; a learned field wants 0 and a finite slope at both"
            )
        if (noise_network is None) == interpolant.is_noisy:
            raise ValueError("an interpolant with noise has a network for it, and no other has")
        if starting is not None and starting.x.shape[1:] != mean.shape:
            got, wanted = tuple(starting.x.shape[1:]), tuple(mean.shape)
            raise ValueError(f"got starting points of shape {got} for data of shape {wanted}")
        self.event_shape, self.flip_label = tuple(mean.shape), flip_label
        self.network, self.noise_network, self.starting = network, noise_network, starting
        self.prior = Normal() if starting is None else None
        self.register_buffer("mean", mean)
        other = (torch.zeros_like(mean), 1.0) if starting is None else starting.moments
        self.register_buffer("other_mean", other[0], persistent=False)
        self._stds = float(std), other[1]
        interpolant.require_ends(self.mean[None].double(), self.other_mean[None].double())
        self.classes = getattr(network, "classes", None)
        self.unconditional = getattr(network, "classes", 0) is None
        shares = None if starting is None else starting.shares
        if shares is not None and len(shares) != self.classes:
            raise ValueError(
                f"got starting points of {len(shares)} classes for a network of {self.classes}"
            )

    other_mean: Tensor

    def draw(self, n: int, rng: Rng, y: Tensor | None = None) -> Tensor:
        r"""Draw n starting points x_1, of the class of each label where both have classes."""
        if self.starting is not None:
            return self.starting.draw(n, rng, y)
        assert self.prior is not None
        return self.prior.sample((n, *self.event_shape), rng, device=self.device)

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """Draw n starting points, and the field that moves them.

        Raises:
            ValueError: a label that has no starting points.
        """
        counts = None if self.starting is None else self.starting.counts
        if counts is not None and y is not None and not bool((counts[y] > 0).all()):
            raise ValueError(f"label {int(y[counts[y] == 0][0])} has no starting points")
        return Start(self.draw(n, rng, y), self)

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The conditional mean rate of x at time t."""
        x = self.as_state(x)
        t = as_time(t, x)
        _, rate = self._between_means(t, x)
        return rate + self.rate_scale * self.rate_output(x, t, y).to(x)

    def noise_part(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        r"""The conditional mean of the noise, E[z | x_t = x].

        Raises:
            TypeError: an interpolant without noise.
        """
        x = self.as_state(x)
        return self.noise_output(x, t, y).to(x)

    def rate_output(
        self,
        x: Tensor,
        t: Tensor | float,
        y: Tensor | None = None,
        flipped: Tensor | None = None,
    ) -> Tensor:
        """What the rate's network says, in its own units and precision."""
        return self._called(self.network, x, t, y, flipped)

    def noise_output(
        self,
        x: Tensor,
        t: Tensor | float,
        y: Tensor | None = None,
        flipped: Tensor | None = None,
    ) -> Tensor:
        """What the noise's network says, in its own precision.

        Raises:
            TypeError: an interpolant without noise.
        """
        if self.noise_network is None:
            raise TypeError(
                "this interpolant has no noise, so that its score is not known; train it with "
                "gamma above 0"
            )
        return self._called(self.noise_network, x, t, y, flipped)

    def rate_target(self, rate: Tensor, t: Tensor) -> Tensor:
        """What the rate's network should say of a rate, shape (B, *event)."""
        return (rate - self._between_means(t, rate)[1]) / self.rate_scale

    @property
    def rate_scale(self) -> float:
        """The size of rates, the root of the two ends' variances."""
        return math.hypot(*self._stds)

    def _between_means(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """The curve between the means of the two ends, and its rate, in the type of the points."""
        rows = t.reshape(-1)
        means = (m.to(like).expand(len(rows), *m.shape) for m in (self.mean, self.other_mean))
        return self.interpolant.rate(rows, *means)

    def _called(
        self,
        network: nn.Module,
        x: Tensor,
        t: Tensor | float,
        y: Tensor | None,
        flipped: Tensor | None,
    ) -> Tensor:
        x = as_state(x, self.event_shape)
        t, y = as_time(t, x), as_labels(y, len(x))
        square, _ = self.interpolant.square(t)
        width = ((1 - t) * self._stds[0] ** 2 + t * self._stds[1] ** 2 + square).sqrt()
        u = (x - self._between_means(t, x)[0]) / expand_like(width, x)
        dtype = next(network.parameters()).dtype
        cond = t.expand(len(x))[:, None].to(torch.promote_types(dtype, torch.float32))
        if getattr(network, "timesteps", False):
            cond = 1000 * cond
        if self.flip_label:
            told = torch.zeros_like(cond) if flipped is None else flipped[:, None].to(cond)
            cond = torch.cat((cond, told), 1)
        scaled = u.to(dtype)
        return _checked(network(scaled, cond, y), scaled, 0)[0]

    def _describe(self) -> list[str]:
        many = [] if self.starting is None else [f"starts from {len(self.starting)} points"]
        return [*super()._describe(), *many]
