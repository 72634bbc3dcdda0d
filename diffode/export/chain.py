r"""The path that a scheduler of diffusers steps along, and what a network is asked on it.

A scheduler knows one of two paths: a chain of betas, :math:`\alpha^2 = \prod (1 - \beta_i)` with
:math:`\sigma^2 = 1 - \alpha^2`, on which the network answers with the noise, and the straight path
:math:`\alpha = 1 - s, \sigma = s`, on which it answers with :math:`n - x_0`. For normal noise the
flow is the same on all paths, so a chain through the field's own range of rho shows it whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.discrete import DiscreteBetas
from diffode.fields.reschedule import rescheduled
from diffode.fields.schedules import Rectified, Schedule

TIMESTEPS = 1000
LEAST = 0.01  # rho of the last link: alphas_cumprod are float32, which rounds 1 - alpha^2 = rho^2
MOST = 1e4  # rho from which on a path is taken to end in noise alone


def betas_of(field: AffineField) -> list[float] | None:
    """The chain for a field: its own, or one through its range of rho; None: the straight path.

    Rho grows by the same factor from each link to the next, from .01 or the field's own least.
    """
    own = field.schedule
    least, most = field.levels
    if most > MOST:
        return None
    if isinstance(own, DiscreteBetas) and least > 0.99 * LEAST:
        rho = own.rho(torch.arange(int(own.span[0]) + 1, dtype=torch.float64))
    else:
        low, high = torch.tensor([max(least, LEAST), most], dtype=torch.float64).log()
        rho = torch.lerp(low, high, torch.linspace(0, 1, TIMESTEPS, dtype=torch.float64)).exp()
    kept = 1 / (1 + rho.square())
    before = torch.cat((torch.ones_like(kept[:1]), kept[:-1]))
    betas: list[float] = (1 - kept / before).tolist()
    return betas


def keeps_times(field: AffineField) -> bool:
    """Whether the timesteps of its path are the field's own times, or those times 1000."""
    least, most = field.levels
    own = isinstance(field.schedule, DiscreteBetas) and least > 0.99 * LEAST and most <= MOST
    return own or type(field.schedule) is Rectified


def answer(
    field: AffineField,
    betas: Sequence[float] | None,
    x: Tensor,
    timestep: Tensor | float,
    y: Tensor | None = None,
) -> Tensor:
    """What a network is to say: E[n | x] on a chain, E[n - x_0 | x] on the straight path.

    Arguments:
        field: of normal noise, its mean 0 or not.
        betas: the chain; None for the straight path.
        x: states on that path, shape (B, *event).
        timestep: from 0, shape () or (B,); on the straight path 1000 s.
        y: labels, shape (B,).
    """
    t = torch.as_tensor(timestep, dtype=torch.float64, device=x.device)
    t = t.reshape(()) if t.numel() == 1 else t
    schedule: Schedule = Rectified() if betas is None else DiscreteBetas(betas)
    moved = rescheduled(field, schedule)
    assert isinstance(moved, AffineField)
    x0, n = moved.posterior(x, t / TIMESTEPS if betas is None else t, y)
    return n - x0 if betas is None else n
