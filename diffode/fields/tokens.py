r"""Corruptions of tokens: whole numbers 0 to V - 1, each position corrupted alone.

At time t a token is still itself with probability :math:`a_t = 1 - t`. Else it is hidden behind a
mask (`Absorbing`) or replaced by a token drawn uniformly (`Replacing`). Another decreasing
:math:`a_t` would be the same model on another clock.

The guess of `TokenField` draws each position alone, from :math:`q(x_0^i | x_t)`: that is all that
a network gives, and the law of the sample is right only where few positions change in a step.

References: D3PM (Austin et al., 2021), https://arxiv.org/abs/2107.03006, section 3.1 and appendix
A.2; MDLM (Sahoo et al., 2024), https://arxiv.org/abs/2406.07524, eq. 7; Shi et al. (2024),
https://arxiv.org/abs/2406.04329, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from diffode.data.levels import Levels
from diffode.data.scaling import data_units, model_units
from diffode.doors import as_count, as_shape, as_time, unwritten
from diffode.fields.corruption import Corrupting, Corruption
from diffode.rng import Rng


def drawn(p: Tensor, u: Tensor) -> Tensor:
    r"""Indices with probabilities proportional to p (..., V), by the uniform numbers u (...)."""
    mass = p.cumsum(-1)
    return (mass < u[..., None] * mass[..., -1:]).sum(-1)


def beside(t: Tensor, x: Tensor) -> Tensor:
    """A time of shape () or (B,), shaped to broadcast with tokens x (B, *event)."""
    return t.reshape(-1, *[1] * (x.ndim - 1)) if t.ndim else t


class Tokens(Corruption):
    r"""A corruption of tokens by positions, :math:`a_t = 1 - t`.

    Arguments:
        count: V, the number of tokens.
        event_shape: of one sample.
    """

    span = (1.0, 0.0)
    mask: int | None = None

    def __init__(self, count: int, event_shape: Sequence[int]) -> None:
        self.count, self.event_shape = as_count(count, "count", 2), as_shape(event_shape)

    def keep(self, t: Tensor | float, x: Tensor) -> Tensor:
        r""":math:`a_t`, float64, shaped to broadcast with x (B, \*event)."""
        return 1 - beside(as_time(t, x), x)

    def log_evidence(self, x: Tensor, t: Tensor | float) -> Tensor:
        r""":math:`\log p(x_t^i | x_0^i = v)` of each position and token v, (B, \*event, V).

        Up to a term without v.
        """
        raise unwritten(self, "log_evidence")

    def noise_told(self, x: Tensor, t: Tensor | float) -> Tensor:
        """How corrupted tokens x (B, *event) are, from 0 to 1, float64, shape (B,): the time."""
        return as_time(t, x).expand(len(x))

    def cost(self, log_q: Tensor, x0: Tensor, x: Tensor, t: Tensor | float) -> Tensor:
        r"""The negative ELBO's integrand in nats, shape (B,).

        Its mean over t uniform in (0, 1) and :math:`x_t \sim p(x_t | x_0)` bounds
        :math:`-\log P(x_0)` from above, P the law of samples drawn in many steps.

        Arguments:
            log_q: :math:`\log q(x_0^i = v | x_t)`, shape (B, \*event, V).
            x0, x: tokens of the data and at time t, (B, \*event).
            t: the time, shape () or (B,), between 0 and 1.
        """
        raise unwritten(self, "cost")

    def as_state(self, x: Tensor) -> Tensor:
        r"""Tokens, int64, shape (B, \*event).

        Raises:
            ValueError: another shape, or numbers that are no tokens.
        """
        if x.shape[1:] != self.event_shape or x.ndim == 0:
            wanted = ", ".join(["B", *map(str, self.event_shape)])
            raise ValueError(f"got tokens of shape {tuple(x.shape)}; wanted ({wanted})")
        if x.dtype == torch.int64 and not x.numel():
            return x
        most = self.count - 1 if self.mask is None else self.mask
        whole = not x.is_floating_point() or bool((x == x.round()).all())
        if not whole or int(x.min()) < 0 or int(x.max()) > most:
            raise ValueError(f"got tokens that are not whole numbers from 0 to {most}")
        return x.long()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count} tokens)"


class Absorbing(Tokens):
    r"""Tokens hidden behind a mask, the number V; a hidden one is revealed for good.

    .. math:: P(x_s^i = x_0^i | x_t^i = \text{mask}, x_0) = \frac{a_s - a_t}{1 - a_t}.

    What is not hidden is known, so that the posterior of x_0 does not depend on t.
    """

    def __init__(self, count: int, event_shape: Sequence[int]) -> None:
        super().__init__(count, event_shape)
        self.mask: int = self.count

    def start(self, n: int, rng: Rng, device: torch.device | str = "cpu") -> Tensor:
        """All hidden."""
        return torch.full((n, *self.event_shape), self.mask, device=device)

    def corrupt(self, x0: Tensor, t: Tensor | float, rng: Rng) -> Tensor:
        """Hide each token with probability t."""
        kept = rng.uniform("hide", x0.shape, x0.device) < self.keep(t, x0)
        return torch.where(kept, x0, self.mask)

    def step(
        self, x: Tensor, x0: Tensor, t: Tensor | float, s: Tensor | float, rng: Rng
    ) -> Tensor:
        """Reveal some of the hidden tokens, as x_0 has them."""
        a, b = self.keep(t, x), self.keep(s, x)
        shown = rng.uniform("reveal", x.shape, x.device) < (b - a) / (1 - a)
        return torch.where((x == self.mask) & shown, x0, x)

    def noise_told(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The share of hidden tokens: all else that t could tell does not matter."""
        return (x == self.mask).flatten(1).double().mean(1)

    def cost(self, log_q: Tensor, x0: Tensor, x: Tensor, t: Tensor | float) -> Tensor:
        r""":math:`-\frac1t \sum_{i \text{ hidden}} \log q(x_0^i)`.

        Reference: MDLM (Sahoo et al., 2024), https://arxiv.org/abs/2406.07524, eq. 10.
        """
        each = -log_q.double().gather(-1, x0[..., None])[..., 0]
        hidden = torch.where(x == self.mask, each / beside(as_time(t, x), x), 0.0)
        return hidden.flatten(1).sum(1)

    def log_evidence(self, x: Tensor, t: Tensor | float) -> Tensor:
        """0 for the token that is shown and for all of a hidden one, else -inf."""
        fits = x[..., None] == torch.arange(self.count, device=x.device)
        return torch.zeros(fits.shape, dtype=torch.float64, device=x.device).masked_fill(
            ~(fits | (x == self.mask)[..., None]), -math.inf
        )


class Replacing(Tokens):
    r"""Uniform corruption: tokens replaced by ones drawn uniformly, and revised at any time.

    With :math:`r = a_t / a_s`,

    .. math:: p(x_s^i = v | x_t, x_0) \propto \Big(a_s [v = x_0^i] + \frac{1 - a_s}{V}\Big)
              \Big(r [v = x_t^i] + \frac{1 - r}{V}\Big).
    """

    def start(self, n: int, rng: Rng, device: torch.device | str = "cpu") -> Tensor:
        """Uniform tokens."""
        return self._letters("prior", (n, *self.event_shape), rng, device)

    def corrupt(self, x0: Tensor, t: Tensor | float, rng: Rng) -> Tensor:
        """Replace each token with probability t."""
        kept = rng.uniform("replace", x0.shape, x0.device) < self.keep(t, x0)
        return torch.where(kept, x0, self._letters("letter", x0.shape, rng, x0.device))

    def step(
        self, x: Tensor, x0: Tensor, t: Tensor | float, s: Tensor | float, rng: Rng
    ) -> Tensor:
        """Draw each token by its two neighbours in time."""
        p = self.between(x, t, s) * self.given(x0, s)
        return drawn(p, rng.uniform("letter", x.shape, x.device))

    def given(self, x0: Tensor, t: Tensor | float) -> Tensor:
        r""":math:`p(x_t^i = v | x_0)`, (B, \*event, V)."""
        a = self.keep(t, x0)[..., None]
        return a * one_hot(x0, self.count) + (1 - a) / self.count

    def between(self, x: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        r""":math:`p(x_t^i | x_s^i = v)` of the tokens x at time t, (B, \*event, V)."""
        r = (self.keep(t, x) / self.keep(s, x))[..., None]
        return r * one_hot(x, self.count) + (1 - r) / self.count

    def cost(self, log_q: Tensor, x0: Tensor, x: Tensor, t: Tensor | float) -> Tensor:
        r"""What the reverse jumps by q cost beside those by x_0.

        The reverse rate of a jump to :math:`z \ne x_t^i` is :math:`\frac{1}{V (1 - t)}` times the
        ratio :math:`r(z) = E \, p(z | v) / p(x_t^i | v)` over :math:`v \sim q`; with :math:`r_0`
        that of :math:`v = x_0^i`, the integrand is

        .. math:: \frac{1}{V (1 - t)} \sum_i \sum_{z \ne x_t^i}
                  \Big(r - r_0 + r_0 \log \frac{r_0}{r}\Big)(z).

        Reference: Lou et al. (2024), https://arxiv.org/abs/2310.16834, theorem 3.6, with the ratio
        that a posterior of x_0 gives.
        """
        a, hot = self.keep(t, x)[..., None], one_hot(x, self.count).bool()
        q, q0 = log_q.double().exp(), one_hot(x0, self.count).double()
        r, r0 = (self._ratio(p, hot, a) for p in (q, q0))
        each = r - r0 + torch.xlogy(r0, r0 / r)
        return (each.masked_fill(hot, 0.0) / (self.count * a)).flatten(1).sum(1)

    def _ratio(self, q: Tensor, hot: Tensor, a: Tensor) -> Tensor:
        r"""The mean of :math:`p(z | v) / p(x_t | v)` over v by q (B, \*event, V), for each z."""
        rho = 1 + a * self.count / (1 - a)
        own = (q * hot).sum(-1, keepdim=True)
        return q * rho + own / rho + (1 - q - own).clamp_min(0)

    def log_evidence(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The log-probability of x at time t by each token at time 0."""
        return self.given(x, t).log()

    def _letters(
        self, name: str, shape: Sequence[int], rng: Rng, device: torch.device | str
    ) -> Tensor:
        return (rng.uniform(name, shape, device) * self.count).long()


class TokenField(Corrupting):
    r"""A field of tokens: write ``log_posterior``.

    Arguments:
        corruption: of the tokens.
        levels: the values that the tokens stand for; None is 0 to V - 1.
    """

    corruption: Tokens

    def __init__(self, corruption: Tokens, levels: Levels | None = None) -> None:
        super().__init__(corruption)
        self.levels = levels or Levels(corruption.count)

    def log_posterior(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        r""":math:`\log q(x_0^i = v | x_t = x)`, shape (B, \*event, V)."""
        raise unwritten(self, "log_posterior")

    def guess(self, x: Tensor, t: Tensor | float, rng: Rng, y: Tensor | None = None) -> Tensor:
        """Draw each position of x_0 alone."""
        p = self.log_posterior(x, t, y).double().exp()
        return drawn(p, rng.uniform("guess", x.shape, x.device))

    def from_data(self, x: Tensor) -> Tensor:
        r"""The tokens of points x in the units of the data, shape (B, \*event)."""
        return self.levels.tokens(model_units(x, self.scaling))

    def to_data(self, x: Tensor, t: Tensor | float) -> Tensor:
        r"""The values of tokens in the units of the data: whole numbers where those are.

        A mask stands for one step above the highest value.
        """
        return data_units(self.levels.values(x), self.scaling)

    def _describe(self) -> list[str]:
        return [repr(self.corruption), f"levels {self.levels}"]
