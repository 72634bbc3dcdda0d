"""A field whose posterior mean is a network behind a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffode.doors import as_labels, as_state, as_time
from diffode.fields.affine import AffineField, PosteriorAt
from diffode.fields.along import states_with
from diffode.fields.base import expand_like
from diffode.fields.decay import Decay
from diffode.fields.precond import Coefficients, Prediction
from diffode.fields.schedules import Schedule
from diffode.priors import Spherical


class Output(NamedTuple):
    """A network's answer in its own space, and what is needed to read it."""

    out: Tensor
    extra: Tensor | None
    u: Tensor
    alpha: Tensor
    sigma: Tensor
    coefficients: Coefficients


class Learned(AffineField):
    r"""The field of a network, :math:`E[x_0|x] = m + c_{skip} u + c_{out} F(c_{in} u, c)`.

    The network is called as ``network(input, cond, y)`` in its own precision with input (B,
    \*event) and cond (B, k); schedule and coefficients are computed in float64, and the state
    keeps its type.

    Arguments:
        network: F.
        schedule: alpha, sigma and the span.
        prediction: what F's output means.
        noise: the law of n at unit scale.
        mean: the data's mean m, shape (\*event).
        std: the data's rms standard deviation s.
        flip_label: whether the network has one more conditioning number, which says that x is
            mirrored: 1 where training has mirrored a sample, else 0, so that what is drawn is not
            mirrored (Karras et al., 2022, https://arxiv.org/abs/2206.00364, appendix F.2).
        decay: a factor of each coordinate beside alpha; the network is given pixels and answers
            in pixels, all else is in the decay's basis.

    Raises:
        TypeError: a decay, and a prediction that is not ``by_coordinate``.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        noise: Spherical,
        mean: Tensor,
        std: float,
        flip_label: bool = False,
        decay: Decay | None = None,
    ) -> None:
        super().__init__(schedule, noise, mean, std, decay)
        if decay is not None and not prediction.by_coordinate:
            raise TypeError(
                f"got a {type(prediction).__name__}, which knows one alpha for all coordinates, "
                "for a field with a decay; use CoordinatePrediction"
            )
        self.flip_label = flip_label
        self.network, self.prediction = network, prediction
        self.classes = getattr(network, "classes", None)
        self.unconditional = getattr(network, "classes", 0) is None  # as diffode's networks say it

    def output(
        self,
        x: Tensor,
        t: Tensor | float,
        y: Tensor | None = None,
        flipped: Tensor | None = None,
    ) -> Output:
        """The network's output at (x, t), in the network's precision.

        Arguments:
            x, t, y: as for `posterior`.
            flipped: which rows training has mirrored, shape (B,); None for none.
        """
        x = as_state(x, self.event_shape)
        t, y = as_time(t, x), as_labels(y, len(x))
        alpha, sigma = self.level(t, x)
        u = x - expand_like(alpha, x) * self.centre.to(x)
        c = self.prediction.coefficients(u, alpha, sigma, t)
        told = self._told(c.cond, flipped)
        scaled = (expand_like(c.in_, u) * u).to(self._dtype)
        out, extra = _answer(self.network, self.decay, scaled, (told, y), self.prediction.extra)
        return Output(out, extra, u, alpha, sigma, c)

    @property
    def centre(self) -> Tensor:
        r"""The point about which the network sees data, shape (\*event): their mean m."""
        return self.mean

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def _told(self, cond: Tensor, flipped: Tensor | None) -> Tensor:
        """The conditioning numbers (B, k), and whether x is mirrored where that is told."""
        cond = cond.to(torch.promote_types(self._dtype, torch.float32))
        if not self.flip_label:
            return cond
        column = torch.zeros_like(cond[:, :1]) if flipped is None else flipped[:, None].to(cond)
        return torch.cat((cond, column), 1)

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x] by the network."""
        o = self.output(x, t, y)
        read = o.u, o.out, o.extra, o.coefficients, o.sigma
        return _decoded(self.prediction, self.centre.to(o.u), *read)

    def prepared(self, times: Tensor, like: Tensor) -> PosteriorAt | None:
        """The posterior at known times, their levels and coefficients computed all at once."""
        own = states_with(self.prediction, "by_level", {"coefficients"})
        if not (own and self.prediction.by_level):
            return None
        rows = self.centre.expand(len(times), *self.event_shape)
        alpha, sigma = self.level(times, rows)
        c = self.prediction.coefficients(rows, alpha, sigma, times)
        told = self._told(c.cond, None)
        calls = self._embedded(told) or told[:, None].expand(-1, len(like), -1).unbind()
        numbers = -alpha, sigma, c.skip, c.out, c.in_, c.noise_skip, c.noise_out
        split = [v.to(like).unbind() for v in numbers]
        known = [
            (a, s, Coefficients(skip, out, in_, cond, noise_skip, noise_out))
            for cond, a, s, skip, out, in_, noise_skip, noise_out in zip(
                told[:, None].unbind(), *split, strict=True
            )
        ]
        centre, dtype, count = self.centre.to(like), self._dtype, self.prediction.extra
        network, prediction = self.network, self.prediction  # torch is slow to look these up
        decay, linear = (
            self.decay,
            getattr(prediction.decode, "__func__", None) is Prediction.decode,
        )

        def posterior(k: int, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
            minus_alpha, sigma, c = known[k]
            u = torch.addcmul(x, minus_alpha, centre)
            scaled = (c.in_ * u).to(dtype)
            out, extra = _answer(network, decay, scaled, (calls[k], y), count)
            if not linear:
                return _decoded(prediction, centre, u, out, extra, c, sigma)
            out = out.to(u)
            x0 = torch.addcmul(torch.addcmul(centre, c.skip, u), c.out, out)
            return x0, torch.addcmul(c.noise_skip * u, c.noise_out, out)

        return posterior

    def _embedded(self, told: Tensor) -> Sequence[object] | None:
        """What a network is told in the place of numbers (K, k) that all rows share, if it can."""
        parts = {"embedded": {"forward"}, "broadcasts": {"body"}}
        if not all(states_with(self.network, *part) for part in parts.items()):
            return None
        network: Any = self.network
        found: Sequence[object] | None = network.embedded(told)
        return found

    def residual(
        self,
        x: Tensor,
        x0: Tensor,
        n: Tensor,
        t: Tensor | float,
        y: Tensor | None = None,
        flipped: Tensor | None = None,
    ) -> tuple[Tensor, Output]:
        """What the loss squares: F less its target, times the prediction's ``loss_scale``.

        Returns:
            The error, shape (B, *event), and the network's output that it is made of.
        """
        o = self.output(x, t, y, flipped)
        u0 = x0 - self.centre.to(x0)
        target = self.prediction.target(u0, n, o.alpha, o.sigma, o.coefficients)
        error = o.out - target.to(torch.promote_types(o.out.dtype, torch.float32))
        scale = self.prediction.loss_scale(o.coefficients)
        return error if scale is None else error * expand_like(scale, error), o


def _answer(
    network: nn.Module, decay: Decay | None, scaled: Tensor, told: tuple[object, ...], count: int
) -> tuple[Tensor, Tensor | None]:
    """The network's output and scalars."""
    if decay is None:
        return _checked(network(scaled, *told), scaled, count)
    out, extra = _checked(network(decay.from_basis(scaled), *told), scaled, count)
    return decay.to_basis(out), extra


def _decoded(
    prediction: Prediction,
    centre: Tensor,
    u: Tensor,
    out: Tensor,
    extra: Tensor | None,
    c: Coefficients,
    sigma: Tensor,
) -> tuple[Tensor, Tensor]:
    """What the network's answer says of data and noise."""
    extra = None if extra is None else extra.to(u)
    x0, n = prediction.decode(u, out.to(u), extra, c, sigma)
    return x0 + centre, n


def _checked(answer: object, u: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
    """The output and the scalars in the answer of a network, which may be anybody's.

    Raises:
        TypeError: no tensor, or no pair of them where scalars are wanted.
        ValueError: one of another shape.
    """
    parts = answer if count else (answer, None)
    if not isinstance(parts, tuple) or len(parts) != 2 or not isinstance(parts[0], Tensor):
        pair = f"the pair (output, scalars of shape (B, {count}))" if count else "a tensor"
        raise TypeError(f"the network gave a {type(answer).__name__}; wanted {pair}")
    out, extra = parts
    if out.shape != u.shape:
        got, wanted = tuple(out.shape), tuple(u.shape)
        raise ValueError(f"the network's output is of shape {got}; wanted that of x, {wanted}")
    if count and tuple(extra.shape) != (len(u), count):
        got, wanted = tuple(extra.shape), (len(u), count)
        raise ValueError(f"the network's scalars are of shape {got}; wanted {wanted}")
    return out, extra
