r"""Likelihoods to compare models by: bits per dimension, and a card that says what they hold.

Data that take K values, equally spaced by h, have a probability :math:`P(k)`, a flow has a
density p. Uniform dequantisation puts them on one scale: for :math:`x = x_k + (u - \tfrac12) h`, u
uniform on (0, 1) in each of the N coordinates,

.. math:: -\frac{1}{N} \log_2 P(k) \le - \frac{E_u \log p(x)}{N \log 2} - \log_2 h,

by Jensen's inequality. The right side is the bits per dimension, and :math:`-\log_2 h` its
offset: 3 for the digits (17 values from -1 to 1), 0 for bytes (256 from 0 to 255), 6.99 for the
same images given from -1 to 1. Values are those of the data in their own units, and the bits per
dimension do not depend on the units.

Reference: Theis et al. (2016), A note on the evaluation of generative models,
https://arxiv.org/abs/1511.01844, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.data import Dataset
from diffode.data.rows import some_rows
from diffode.data.scaling import Scaling, data_units, in_units
from diffode.data.source import whole, width
from diffode.doors import as_labels, as_state
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.exact import Empirical
from diffode.fields.turned import Blurred, on_path_of
from diffode.inputs import quoted
from diffode.rng import Rng

_MOST_LEVELS, _LOOKED_AT = 256, 2**22
_HELD = 0.05  # of their distance, within which a number is one of the levels
_SINGLE = 2.0**-23


@dataclass(frozen=True)
class Quantisation:
    """Equally spaced values that data take.

    Attributes:
        count: how many.
        low, high: the first and the last.
    """

    count: int = 256
    low: float = -1.0
    high: float = 1.0

    @property
    def width(self) -> float:
        """The distance h of two neighbours."""
        return (self.high - self.low) / (self.count - 1)

    def hold(self, x: Tensor) -> bool:
        """Whether all of x take these values, to a twentieth of their distance."""
        k = (x.double() - self.low) / self.width
        inside = (k > -0.5) & (k < self.count - 0.5)
        return bool((inside & ((k - k.round()).abs() < _HELD)).all())

    @staticmethod
    def parse(text: str, scaling: Scaling | None = None) -> Quantisation:
        """The levels that "N" names, N over the whole range of gray levels, or "N:LOW:HIGH".

        Arguments:
            text: the name.
            scaling: of the field; the range is what it takes to -1 ... 1.

        Raises:
            ValueError: anything else, or "N" of a scaling that is not of gray levels.
        """
        count, *ends = text.split(":")
        if not ends and scaling is not None and scaling.kind != "pixels":
            raise ValueError(
                f"got levels {quoted(text)} for data in units of their own; wanted N:LOW:HIGH"
            )
        usual = data_units(torch.tensor([-1.0, 1.0]), scaling).tolist()
        try:
            low, high = map(float, ends) if ends else usual
            if int(count) >= 2 and math.inf > high > low > -math.inf:
                return Quantisation(int(count), low, high)
        except ValueError:
            pass
        raise ValueError(
            f"got levels {quoted(text)}; wanted N, as 256 for N values from {usual[0]:g} to "
            f"{usual[1]:g}, or N:LOW:HIGH"
        )


def quantisation_of(x: Tensor) -> Quantisation | None:
    """The equally spaced values, at most 256, that data take; None if they take others.

    Their distance is the largest that divides all differences of the data's values, to the
    rounding of single precision (of half precision for data of that type): gray values 0, 3 and 5
    lie on a grid of 1.
    """
    x = as_state(x)
    half = x.dtype in (torch.float16, torch.bfloat16)
    rows = some_rows(len(x), max(1, _LOOKED_AT // max(1, x[0].numel())))
    values = x[rows].unique().double()  # type: ignore[no-untyped-call]
    if not 2 <= len(values) <= _MOST_LEVELS:
        return None
    low, high = float(values[0]), float(values[-1])
    reach = max(abs(low), abs(high)) / (high - low)
    fraction = (values - low) / (high - low)
    cells = torch.arange(len(values) - 1, _MOST_LEVELS, dtype=torch.float64)
    k = cells[:, None] * fraction
    off = (k - k.round()).abs().amax(1)
    good = off <= (_HELD * 0.9 if half else (8 * _SINGLE * reach * cells).clamp_max(0.01))
    return Quantisation(int(cells[good][0]) + 1, low, high) if bool(good.any()) else None


def dequantise(x: Tensor, levels: Quantisation, rng: Rng) -> Tensor:
    """Data of equally spaced values with uniform noise of their distance, x + (u - 1/2) h.

    Raises:
        ValueError: data that do not take these values.
    """
    x = as_state(x)
    if not levels.hold(x):
        raise ValueError(
            f"got data that take other values than the {levels.count} from {levels.low:g} to "
            f"{levels.high:g}; pass their own levels, or None for the density itself"
        )
    u = rng.uniform("dequantise", tuple(x.shape), x.device)
    return (x + (u - 0.5) * levels.width).to(x.dtype)


def bits_per_dim(nats: Tensor, dim: int, levels: Quantisation | None = None) -> Tensor:
    r"""Bits per dimension, :math:`- \log p / (N \log 2) - \log_2 h`.

    Arguments:
        nats: log-densities of dequantised data.
        dim: the number N of coordinates.
        levels: the values that the data take; None states bits of the density itself, h = 1.
    """
    return -nats / (dim * math.log(2)) - (0.0 if levels is None else math.log2(levels.width))


def law_at_prior(
    field: AffineField, data: Tensor, labels: Tensor | None = None, y: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """The log-density at t_prior of the law that a field's path gives its training data.

    Arguments:
        field: whose schedule and noise are used.
        data: the training data in the field's own (model) units, shape (M, *event).
        labels: their classes, shape (M,).
        y: the classes of the points that the result is called with, shape (B,); with ``labels``,
            each point is compared with the data of its own class.
    """

    data = as_state(data, field.event_shape, "data")
    labels = as_labels(labels, len(data))

    def exact(points: Tensor) -> Empirical | Blurred:
        return on_path_of(field, points.to(field.device).double())

    if labels is None or y is None:
        whole = exact(data)
        return lambda x: whole.log_marginal(x, field.span[0])

    def by_class(x: Tensor) -> Tensor:
        out = torch.empty(len(x), dtype=x.dtype, device=x.device)
        wanted = as_labels(y, len(x))
        assert wanted is not None and labels is not None
        for c in set(wanted.tolist()):
            own = (wanted == c).to(x.device)
            if not bool((labels == c).any()):
                raise ValueError(f"label {c} has no points in this data")
            out[own] = exact(data[labels == c]).log_marginal(x[own], field.span[0])
        return out

    return by_class


def prepared(
    field: Field,
    dataset: Dataset | None,
    x: Tensor,
    y: Tensor | None,
    seed: int,
    as_is: bool = False,
    levels: Quantisation | None = None,
) -> tuple[Tensor, Quantisation | None, Callable[[Tensor], Tensor] | None]:
    """Points dequantised where they take few values, those values, and the true law at t_prior.

    Arguments:
        field: what their likelihood is measured by.
        dataset: what it was trained on, if that is known.
        x, y: the points, in the units of the data, and their labels.
        seed: of the dequantisation.
        as_is: do not dequantise.
        levels: the values that the data take, in their units; None looks for them.

    Raises:
        ValueError: data that do not take the given levels.
    """
    if levels is None and not as_is:
        levels = quantisation_of(x if dataset is None else _looked_at(dataset))
        levels = levels if levels is not None and levels.hold(x) else None
    if levels is not None:
        x = dequantise(x, levels, Rng(seed))
    terminal = None
    if dataset is not None and isinstance(field, AffineField):
        labels = dataset.train_labels if y is not None else None
        train = in_units(whole(dataset.train), dataset.scaling, field.scaling)
        terminal = law_at_prior(field, train, labels, y)
    return x, levels, terminal


def _looked_at(dataset: Dataset) -> Tensor:
    """Training points in the units of the data, as many as tell which values they take."""
    rows = some_rows(len(dataset.train), max(1, _LOOKED_AT // width(dataset.train)))
    return data_units(dataset.train[rows], dataset.scaling)
