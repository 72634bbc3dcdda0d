"""Somebody's function of a state and a time as the network of a field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffode.doors import as_count, as_counts, as_positive
from diffode.fields.base import Field
from diffode.fields.learned import Learned
from diffode.fields.precond import Prediction
from diffode.fields.schedules import Schedule
from diffode.inputs import quoted
from diffode.priors import Spherical

MOST = 2**28  # numbers in one state
Function = Callable[..., Any]


class Manner(NamedTuple):
    """How a library calls a model.

    Attributes:
        time_first: whether it is called with (t, x), and not with (x, t).
        sign: what its answer is multiplied by.
        label: the keyword of labels; empty where they follow x and t.
        one_hot: whether labels are vectors with a 1 at the label.
        part: the attribute of the answer that counts; empty where it is a tensor.
    """

    time_first: bool = False
    sign: float = 1.0
    label: str = ""
    one_hot: bool = False
    part: str = ""


class Reading(NamedTuple):
    """A function read in another way than was stated.

    Attributes:
        what: what it looks like, as "a flow_matching velocity".
        differs: how that differs from what was stated.
        advice: what to do.
        field: the field that it is, so read.
    """

    what: str
    differs: str
    advice: str
    field: Field


class Called(nn.Module):
    """A function as `Learned` calls a network.

    Arguments:
        function: called with a state (B, *event), a time (B,) and, if there are any, labels.
        manner: how.
        dtype: what state and time are cast to; None for that of its parameters, or float32.
        classes: the number of labels; None for a function without labels.
    """

    def __init__(
        self,
        function: Function,
        manner: Manner,
        dtype: torch.dtype | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        if not callable(function):
            raise TypeError(f"got {quoted(function)}; wanted a function or a module")
        self.function, self.manner = function, manner
        self.classes = None if classes is None else as_count(classes, "classes", 1)
        held = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise TypeError(f"got dtype={quoted(dtype)}; wanted one of floating-point numbers")
        self.dtype = dtype or held

    def forward(self, x: Tensor, cond: Tensor, y: Tensor | None = None) -> Tensor:
        """The function's answer, shape (B, *event).

        Raises:
            TypeError: an answer without the part that counts, or of other numbers.
        """
        manner, t, further = self.manner, cond[:, 0], {}
        given: tuple[Tensor, ...] = (t, x) if manner.time_first else (x, t)
        if y is not None and self.classes is not None:
            labels = y
            if manner.one_hot:
                known = torch.arange(self.classes, device=y.device)
                labels = (y[:, None] == known).to(x)
            if manner.label:
                further = {manner.label: labels}
            else:
                given = (*given, labels)
        answer = self.function(*given, **further)
        if manner.part and not isinstance(answer, Tensor):
            if not hasattr(answer, manner.part):
                kind = type(answer).__name__
                raise TypeError(f"the model gave a {kind}; wanted one with a .{manner.part}")
            answer = getattr(answer, manner.part)
        if not isinstance(answer, Tensor) or not answer.is_floating_point():
            kind = str(answer.dtype) if isinstance(answer, Tensor) else type(answer).__name__
            raise TypeError(f"the model gave a {kind}; wanted a tensor of floating-point numbers")
        found: Tensor = answer if manner.sign == 1 else manner.sign * answer
        return found


class CalledField(Learned):
    r"""The field of somebody's function, with states as the function has them: m = 0.

    Arguments:
        network: the function.
        schedule: alpha, sigma and the span.
        prediction: what the function's answer means.
        noise: the law of n at unit scale.
        event_shape: the shape of one sample.
        std: the data's rms standard deviation s; it places the steps of solvers.
        others: makes the other ways in which the function can be read.
    """

    def __init__(
        self,
        network: Called,
        schedule: Schedule,
        prediction: Prediction,
        noise: Spherical,
        event_shape: Sequence[int],
        std: float,
        others: Callable[[], list[Reading]],
    ) -> None:
        shape = tuple(as_counts(event_shape, "event_shape", 1))
        if not shape:
            raise ValueError("got event_shape=(); wanted the shape of one sample, as (2,)")
        if math.prod(shape) > MOST:
            raise ValueError(f"got event_shape={shape}; wanted {MOST:,} numbers at most")
        std = as_positive(std, "std", "the data's standard deviation")
        super().__init__(network, schedule, prediction, noise, torch.zeros(shape), std)
        self._others = others
        at = next((p.device for p in network.parameters()), None)
        if at is not None:
            self.to(at)

    network: Called

    @property
    def _dtype(self) -> torch.dtype:
        return self.network.dtype

    def readings(self) -> list[Reading]:
        """The function read in other ways, for `diffode check`."""
        return self._others()


def chosen(convention: str, known: Sequence[str], maker: str) -> str:
    """A convention's name.

    Raises:
        ValueError: none of the known ones.
    """
    if convention not in known:
        raise ValueError(f"got convention {quoted(convention)}; {maker} knows {', '.join(known)}")
    return convention
