r"""Velocities of other libraries as fields.

All of them are on the straight path between data and normal noise. Here it is

.. math:: x_t = (1 - t) x_0 + t n, \qquad v = E[n - x_0 | x_t],

with the data at t = 0. Libraries of flow matching count time from the noise, s = 1 - t, so that
their velocity is -v; diffusers multiplies t by 1000.

References: Lipman et al. (2023), https://arxiv.org/abs/2210.02747; Liu et al. (2023),
https://arxiv.org/abs/2209.03003, eq. 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.doors import as_positive
from diffode.fields.precond import VelocityPrediction
from diffode.fields.schedules import Rectified
from diffode.interop.calls import Called, CalledField, Function, Manner, Reading, chosen
from diffode.interop.predictions import Clock, Told
from diffode.priors import Normal


class Convention(NamedTuple):
    """What a library calls a velocity.

    Attributes:
        from_noise: whether time is 0 at the noise, and the velocity leads from there to the data.
        scale: the time at the other end.
        time_first: whether a model is called with (t, x).
        part: the attribute of an answer that is no tensor.
    """

    from_noise: bool
    scale: float = 1.0
    time_first: bool = False
    part: str = ""


VELOCITIES = {
    "flow_matching": Convention(from_noise=True),
    "torchcfm": Convention(from_noise=True, time_first=True),
    "rectified_flow": Convention(from_noise=True),
    "diffusers": Convention(from_noise=False, scale=1000.0, part="sample"),
    "diffode": Convention(from_noise=False),
}


def from_velocity(
    velocity: Function,
    event_shape: Sequence[int],
    convention: str,
    *,
    std: float = 0.5,
    classes: int | None = None,
    time_scale: float | None = None,
    dtype: torch.dtype | None = None,
) -> CalledField:
    r"""The field of a flow-matching velocity, called as its library calls it.

    ================  ================  ==============  =======================
    convention        called with       time            answer
    ================  ================  ==============  =======================
    flow_matching     (x, s)            s = 1 - t       :math:`E[x_0 - n | x]`
    torchcfm          (s, x)            s = 1 - t       :math:`E[x_0 - n | x]`
    rectified_flow    (x, s)            s = 1 - t       :math:`E[x_0 - n | x]`
    diffusers         (x, 1000 t)       data at t = 0   :math:`E[n - x_0 | x]`
    diffode           (x, t)            data at t = 0   :math:`E[n - x_0 | x]`
    ================  ================  ==============  =======================

    Arguments:
        velocity: a function or a module of a state (B, \*event) and a time (B,); labels y (B,)
            follow. An answer of diffusers may be an object with ``sample``.
        event_shape: the shape of one sample.
        convention: a name of the table.
        std: the data's rms standard deviation, which places the steps of solvers; .5 is that of
            images from -1 to 1.
        classes: the number of labels; None for none.
        time_scale: what time is multiplied by, where it is not as in the table: 999 for the
            image networks of RectifiedFlow.
        dtype: what state and time are cast to; None for that of its parameters, or float32.

    Raises:
        ValueError: an unknown convention, an event shape, a std or a scale that is none.
        TypeError: no function.
    """
    name = chosen(convention, list(VELOCITIES), "from_velocity")
    told = VELOCITIES[name]
    if time_scale is not None:
        scale = as_positive(time_scale, "time_scale", "what time is multiplied by")
        told = told._replace(scale=scale)

    def read(as_told: Convention) -> CalledField:
        manner = Manner(as_told.time_first, -1.0 if as_told.from_noise else 1.0, part=as_told.part)
        return CalledField(
            Called(velocity, manner, dtype, classes),
            Rectified(),
            Told(VelocityPrediction(), _clock(as_told)),
            Normal(),
            event_shape,
            std,
            others,
        ).eval()

    def others() -> list[Reading]:
        found = []
        for other, meant in VELOCITIES.items():
            if words := _differs(told, meant):
                what, advice = f"a {other} velocity", f'pass convention="{other}"'
                found.append(Reading(what, words, advice, read(meant)))
        return found

    return read(told)


def _clock(told: Convention) -> Clock:
    """The time that a model of this convention is told."""

    def clock(t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return told.scale * (1 - t if told.from_noise else t)

    return clock


def _differs(stated: Convention, meant: Convention) -> str:
    """How one convention differs from another, in words; empty where it does not."""
    words = []
    if stated.from_noise != meant.from_noise:
        words.append("time and sign are reversed")
    if stated.scale != meant.scale:
        words.append(f"time goes to {meant.scale:g}, not to {stated.scale:g}")
    if stated.time_first != meant.time_first:
        words.append(f"it is called with {'(t, x)' if meant.time_first else '(x, t)'}")
    return ", ".join(words)
