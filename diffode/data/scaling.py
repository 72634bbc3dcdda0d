r"""Units: from the numbers that were given to those that are learned, and back.

A network learns numbers of order 1 about 0. What a user gives may be bytes, columns in metres and
seconds, or anything else. A `Scaling` is the map between the two,

.. math:: u = (x - b) / w,

with x in *data units*, u in *model units*, a shift b and a width w > 0 for each coordinate, for
each channel, or for all. A run keeps it, so that all that it returns is in data units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

FAR = 1e5  # shift over width, of which single precision rounds 1 % away


@dataclass(frozen=True, eq=False)
class Scaling:
    r"""The map :math:`u = (x - b) / w` from data units x to model units u.

    Attributes:
        kind: how it was chosen: "pixels", "standard" or, on a clock about the mean, "centred".
        shift: b, float64, a shape that broadcasts with one event.
        width: w, of the same shape.
        note: what is to be said of the choice.

    Raises:
        ValueError: numbers that are not finite, or a width that is not positive.
    """

    kind: str
    shift: Tensor
    width: Tensor
    note: str = ""

    def __post_init__(self) -> None:
        shift, width = (torch.as_tensor(v).double().cpu() for v in (self.shift, self.width))
        if not bool(shift.isfinite().all() & width.isfinite().all() & (width > 0).all()):
            raise ValueError("got a scaling that is not finite, or a width that is not positive")
        object.__setattr__(self, "shift", shift + torch.zeros_like(width))
        object.__setattr__(self, "width", width + torch.zeros_like(shift))

    @classmethod
    def pixels(cls, low: float = 0.0, high: float = 255.0) -> Self:
        """Gray levels from ``low`` to ``high`` as -1 to 1."""
        middle, half = (low + high) / 2, (high - low) / 2
        return cls("pixels", torch.tensor(middle), torch.tensor(half))

    def to_model(self, x: Tensor) -> Tensor:
        r"""Points in model units, from data units x, shape (B, \*event); bytes become float32."""
        if x.dtype == torch.uint8:  # as x / 127.5 - 1, which single precision is enough for
            width = self.width.to(x.device).float()
            return x / width - (self.shift.to(x.device) / self.width.to(x.device)).float()
        u = (x.double() - self.shift.to(x.device)) / self.width.to(x.device)
        return u.to(x.dtype if x.is_floating_point() else torch.float32)

    def to_data(self, u: Tensor) -> Tensor:
        r"""Points in data units, from model units u, shape (B, \*event).

        They are of the type of u, or float64 where a shift is so far from 0 that single precision
        would round the points to a few values, as of times in seconds since 1970.
        """
        x = u.double() * self.width.to(u.device) + self.shift.to(u.device)
        return x if bool((self.shift.abs() >= FAR * self.width).any()) else x.to(u.dtype)

    def log_volume(self, event_shape: Sequence[int]) -> float:
        r"""The log of the volume in data units of a unit of model volume, :math:`\sum \log w`.

        So :math:`\log p(x) = \log p(u) - \sum \log w`, in nats.
        """
        repeats = math.prod(event_shape) / self.width.numel()
        return float(self.width.log().sum()) * repeats

    def tensors(self) -> dict[str, Tensor]:
        """Shift and width as named tensors."""
        return {"shift": self.shift, "width": self.width}

    def require_fits(self, event_shape: Sequence[int]) -> None:
        """Refuse events of a shape that shift and width have no number for.

        Raises:
            ValueError: another shape.
        """
        own, event = tuple(self.shift.shape), tuple(event_shape)
        ends = zip(reversed(own), reversed(event), strict=False)
        if len(own) > len(event) or any(a not in (1, b) for a, b in ends):
            raise ValueError(f"got a scaling of shape {own} for events of shape {event}")

    def __str__(self) -> str:
        if self.note or self.width.numel() > 1:
            many = f"{self.width.numel()} shifts and widths of their own"
            return f"{self.kind}: {self.note or many}"
        low, high = float(self.shift - self.width), float(self.shift + self.width)
        return f"{self.kind}: {low:.6g} ... {high:.6g} as -1 ... 1"


def model_units(x: Tensor, scaling: Scaling | None) -> Tensor:
    r"""Points in data units, shape (B, \*event), in model units; None: the two are the same."""
    return x if scaling is None else scaling.to_model(x)


def data_units(u: Tensor, scaling: Scaling | None) -> Tensor:
    r"""Points in model units, shape (B, \*event), in data units; None: the two are the same."""
    return u if scaling is None else scaling.to_data(u)


def in_data_of(x: Tensor, own: Scaling | None, scaling: Scaling | None) -> Tensor:
    r"""Samples of a model in the data units of a data set, shape (B, \*event).

    A model without a scaling makes bytes from -1 to 1, and all others as they were given.

    Arguments:
        x: in the model's data units.
        own, scaling: the model's, and the data set's.
    """
    return data_units(x, scaling) if own is None and is_bytes(scaling) else x


def in_units(u: Tensor, source: Scaling | None, target: Scaling | None) -> Tensor:
    r"""Points in the model units of one scaling in those of another, shape (B, \*event).

    A model without a scaling takes bytes from -1 to 1, and all others as they were given.
    """
    if same_units(source, target) or (target is None and is_bytes(source)):
        return u
    return model_units(data_units(u, source), target).to(u.dtype)


def is_bytes(scaling: Scaling | None) -> bool:
    """Whether it takes 0 ... 255 to -1 ... 1."""
    return same_units(scaling, Scaling.pixels())


def require_units(what: str, own: Scaling | None, wanted: Scaling | None) -> None:
    """Refuse what guides a field in other units than the field's.

    Arguments:
        what: guides it, for the message.
        own, wanted: its units, and the field's.

    Raises:
        ValueError: the two are not one map.
    """
    if same_units(own, wanted):
        return
    rest = f"wanted those of the field that it guides: {wanted}"
    if str(own) == str(wanted):
        rest = "the field that it guides has other numbers for them, as of other data"
    raise ValueError(f"got {what} in units {own}; {rest}")


def same_units(one: Scaling | None, two: Scaling | None) -> bool:
    """Whether two scalings are one map: shifts and widths agree to a millionth of the widths."""
    if one is None or two is None:
        return one is two
    if one.shift.shape != two.shift.shape:
        return False
    gaps = torch.maximum((one.shift - two.shift).abs(), (one.width - two.width).abs())
    return bool((gaps <= 1e-6 * torch.minimum(one.width, two.width)).all())
