r"""Corruptions: what a generative model needs of a path, and no more.

The unified view of diffusion models has three parts, of any type of data:

.. math:: x_t = F_t(x_0, \epsilon), \qquad \hat x_0 \sim q(x_0 | x_t), \qquad
          x_s \sim p(x_s | x_t, \hat x_0).

A `Corruption` states the first and the third. A `Corrupting` field adds the guess, which is what
is learned. Nothing is differentiated by time, so that x may be whole numbers: such a field has
**no velocity**, and the solver "revise" samples it.

References: Su (2022), the unified diffusion model, https://kexue.fm/archives/9262; for tokens D3PM
(Austin et al., 2021), https://arxiv.org/abs/2107.03006, section 3.
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from diffode.doors import as_state, unwritten
from diffode.fields.base import Field, Start
from diffode.rng import Rng


class Corruption:
    r"""A corruption of data: write ``start``, ``corrupt`` and ``step``.

    Attributes:
        span: the times (t_prior, t_data): at the first nothing of x_0 is left, at the last all.
        event_shape: of one sample.
    """

    span: tuple[float, float]
    event_shape: tuple[int, ...]

    def start(self, n: int, rng: Rng, device: torch.device | str = "cpu") -> Tensor:
        r"""Draw n states at t_prior, shape (n, \*event)."""
        raise unwritten(self, "start")

    def corrupt(self, x0: Tensor, t: Tensor | float, rng: Rng) -> Tensor:
        r"""Draw x_t given x_0 (B, \*event), t of shape () or (B,)."""
        raise unwritten(self, "corrupt")

    def step(
        self, x: Tensor, x0: Tensor, t: Tensor | float, s: Tensor | float, rng: Rng
    ) -> Tensor:
        r"""Draw x_s given x_t and x_0, both (B, \*event), s nearer to the data than t.

        Its mean over :math:`x_t \sim p(x_t | x_0)` is to be :math:`p(x_s | x_0)`: then a perfect
        guess keeps the law of x_s right after any step.
        """
        raise unwritten(self, "step")

    def as_state(self, x: Tensor) -> Tensor:
        r"""States of this corruption, shape (B, \*event); others are refused."""
        return as_state(x, self.event_shape)


class Corrupting(Field):
    r"""A corruption and a guess :math:`\hat x_0 \sim q(x_0 | x_t)`; write ``guess``.

    Arguments:
        corruption: how states are made of data, and how they step back.
    """

    prior = None
    smooth = False
    usual = "revise"

    def __init__(self, corruption: Corruption) -> None:
        super().__init__()
        self.corruption = corruption
        self.span, self.event_shape = corruption.span, tuple(corruption.event_shape)

    def guess(self, x: Tensor, t: Tensor | float, rng: Rng, y: Tensor | None = None) -> Tensor:
        r"""Draw :math:`x_0 \sim q(x_0 | x_t = x)`, shape (B, \*event)."""
        raise unwritten(self, "guess")

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """There is none.

        Raises:
            TypeError: always.
        """
        without_velocity(self, "this call")

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """Draw n states at t_prior, and itself."""
        return Start(self.corruption.start(n, rng, self.device), self)

    def as_state(self, x: Tensor) -> Tensor:
        """States of the corruption."""
        return self.corruption.as_state(x)

    def _describe(self) -> list[str]:
        return [repr(self.corruption)]


def without_velocity(field: Field, what: str) -> NoReturn:
    """Refuse what needs a velocity of a corruption.

    Arguments:
        field: the corruption.
        what: needs the velocity, for the message.

    Raises:
        TypeError: always.
    """
    raise TypeError(
        f"{what} needs a velocity, and {type(field).__name__} has none: it is a corruption, whose "
        "states jump; its samples are drawn by the solver revise"
    )


def require_velocity(field: Field, what: str) -> None:
    """Refuse a corruption where a velocity is needed.

    Raises:
        TypeError: the field has none.
    """
    if isinstance(field, Corrupting):
        without_velocity(field, what)
