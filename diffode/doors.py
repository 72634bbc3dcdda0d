"""What public functions take for points, labels and times, made into the tensors they work with.

Every function that is called from outside asks these first. Numbers that mean the same are
converted; all else is refused in one line that says what was got and what was wanted. A tensor
that is right already passes by its type and shape alone, so that a call in a solver's loop, or
under ``torch.func``, costs nothing and reads no value.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

Numbers: TypeAlias = (
    "Tensor | np.ndarray[tuple[int, ...], np.dtype[np.generic]] | Sequence[object]"
)


def as_state(
    x: Numbers, event_shape: Sequence[int] | None = None, name: str = "x", fewest: int = 1
) -> Tensor:
    r"""Points as a floating-point tensor, shape (B, \*event).

    Whole numbers and booleans become numbers of torch's default type: in their own, noise and
    velocities would be cut to integers.

    Arguments:
        x: a tensor, a numpy array or nested lists of numbers.
        event_shape: of one point; None takes any.
        name: what the caller calls them.
        fewest: how many points there must be.

    Raises:
        TypeError: something that is not real numbers.
        ValueError: another shape, or too few points.
    """
    shape = None if event_shape is None else tuple(event_shape)
    if isinstance(x, Tensor) and x.is_floating_point() and x.layout == torch.strided:
        fits = x.ndim > 0 if shape is None else x.ndim == 1 + len(shape) and x.shape[1:] == shape
        if fits and x.shape[0] >= fewest:
            return x
    x = _real(x, name)
    if not x.is_floating_point():
        x = x.to(torch.get_default_dtype())
    got = tuple(x.shape)
    if x.ndim == 0 or (shape is not None and got[1:] != shape):
        wanted = "(B, *event)" if shape is None else f"({', '.join(['B', *map(str, shape)])})"
        advice = f"; for one point pass {name}[None]" if got == shape else ""
        raise ValueError(f"got {name} of shape {got}; wanted {wanted}{advice}")
    if len(x) < fewest:
        raise ValueError(f"got {name} of shape {got}; wanted {_count(fewest)} at least")
    return x


def as_points(x: Numbers, event_shape: Sequence[int], name: str = "x") -> Tensor:
    r"""Points to be moved, shape (B, \*event): finite, and in single precision at least.

    Raises:
        TypeError, ValueError: as for `as_state`, or a point that is not finite.
    """
    x = single(as_state(x, event_shape, name))
    bad = int((~x.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise ValueError(
            f"got {name} with values that are NaN or infinite in {bad} of {len(x)} rows; drop "
            "those rows"
        )
    return x


def single(x: Tensor) -> Tensor:
    """Points in single precision at least: half precision has no digits for a solver's steps.

    Whole numbers, the tokens of a corruption, stay what they are.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32)) if x.is_floating_point() else x


def as_labels(
    y: Numbers | int | None, rows: int | None, highest: int | None = None, name: str = "points"
) -> Tensor | None:
    """Labels as an int64 tensor, shape (rows,), or None for None.

    One label stands for all rows. Whole numbers of another type, booleans included, are taken;
    an int64 tensor of the right shape passes without a look at its values, unless ``highest`` is
    given.

    Arguments:
        y: a label, or one for each row: a tensor, a numpy array or a list.
        rows: how many rows there are; None takes as many as there are labels.
        highest: the largest label there is; the smallest is 0.
        name: what a row is.

    Raises:
        TypeError: something that is not numbers.
        ValueError: another number of labels, fractions, or a label that does not exist.
    """
    if y is None:
        return None
    if not (isinstance(y, Tensor) and y.dtype == torch.int64):
        y = _whole(_real(y, "labels"))
    if y.ndim == 0:
        y = y.reshape(1).repeat(rows or 1)
    rows = len(y) if rows is None else rows
    if y.shape != (rows,):
        count = f"{len(y)} labels" if y.ndim == 1 else f"labels of shape {tuple(y.shape)}"
        raise ValueError(f"got {rows} {name} and {count}; pass one label per {name[:-1]}")
    if highest is not None and not transformed():
        low, high = int(y.min()), int(y.max())
        if low < 0 or high > highest:
            raise ValueError(f"got labels from {low} to {high}; use 0 to {highest}")
    return y


def as_time(t: Tensor | float, like: Tensor) -> Tensor:
    """The time as a float64 tensor of shape () or (B,) on the device of ``like``.

    Raises:
        TypeError: something that is not a real number.
        ValueError: t is neither one number nor one per row of ``like``.
    """
    if not isinstance(t, Tensor | float | int) or (isinstance(t, Tensor) and t.is_complex()):
        t = _real(t, "t")
    t = torch.as_tensor(t, dtype=torch.float64, device=like.device)
    if t.ndim > 1 or (t.ndim == 1 and len(t) != len(like)):
        raise ValueError(
            f"got t of shape {tuple(t.shape)} for x of shape {tuple(like.shape)}; "
            f"pass one number or one per row, shape ({len(like)},)"
        )
    return t


def as_times(times: Numbers, like: Tensor) -> Tensor:
    """The times of a solve as a float64 tensor, shape (K + 1,), on the device of ``like``.

    Raises:
        TypeError: something that is not real numbers.
        ValueError: fewer than two, or not strictly monotone.
    """
    t = times if isinstance(times, Tensor) else _real(times, "times")
    if t.ndim == 1 and len(t) > 1 and not t.is_complex():
        t = t.to(like.device, torch.float64)
        steps = [b - a for a, b in pairwise(t.tolist())]
        if all(step * steps[0] > 0 for step in steps):
            return t
    raise ValueError("times must be at least two, strictly increasing or decreasing")


def as_count(value: object, name: str, fewest: int | None = None) -> int:
    """A whole number as an int: 3 and 3.0 are one, 2.5 and words are not.

    Raises:
        TypeError: anything else.
        ValueError: one below ``fewest``.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        said = " ".join(repr(value).split())[:40]
        raise TypeError(f"got {name}={said}; wanted a whole number") from None
    if fewest is not None and count < fewest:
        raise ValueError(f"got {name}={count}; wanted {fewest} or more")
    return count


def as_counts(values: object, name: str, fewest: int | None = None) -> list[int]:
    """One whole number, or several, as a list of ints.

    Raises:
        TypeError, ValueError: as for `as_count`.
    """
    several = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes)
    return [as_count(value, name, fewest) for value in (values if several else [values])]  # type: ignore[attr-defined]


def as_number(value: object) -> float:
    """A number as a float; NaN for what is none, as words and truth values of any kind."""
    try:
        one = value.item() if isinstance(value, Tensor | np.ndarray | np.generic) else value
        none = isinstance(one, bool | str | bytes | bytearray | memoryview)
        return math.nan if none else float(one)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan


def as_positive(value: object, name: str, meaning: str) -> float:
    """A positive finite number as a float; words and truth values of any kind are none.

    Arguments:
        value: a number, or an array or a tensor of one.
        name: what the caller calls it.
        meaning: what it is, or which one to take: the end of the message.

    Raises:
        ValueError: anything else.
    """
    number = as_number(value)
    if not 0 < number < math.inf:
        said = " ".join(repr(value).split())[:40]
        raise ValueError(f"got {name} {said}; wanted a positive finite number, {meaning}")
    return number


def as_final(final: object, kind: str, denoises: bool) -> Literal["none", "denoise"]:
    """How a flow ends: as asked, or for None denoised where the field can.

    Arguments:
        final: "none", "denoise" or None.
        kind: what the field is called.
        denoises: whether it states E[x_0 | x].

    Raises:
        ValueError: any other word.
        TypeError: "denoise" of a field that cannot.
    """
    if final not in (None, "none", "denoise"):
        raise ValueError(f"got final={final!r:.40}; wanted 'none' or 'denoise'")
    if final == "denoise" and not denoises:
        raise TypeError(f"{kind} states no E[x_0 | x]; use final='none'")
    return "denoise" if final == "denoise" or (final is None and denoises) else "none"


def as_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a draw as ints, rows first.

    Raises:
        TypeError: something that is no shape.
        ValueError: no rows, or a size below 0.
    """
    if not isinstance(shape, Sequence):
        raise TypeError(f"got a shape of type {type(shape).__name__}; wanted (B, *event)")
    sizes = tuple(as_count(size, "size") for size in shape)
    if not sizes or min(sizes) < 0:
        raise ValueError(f"got the shape {sizes}; wanted (B, *event), each at least 0")
    return sizes


def _real(value: object, name: str) -> Tensor:
    """A tensor of real numbers, of whatever type they are."""
    try:
        if not isinstance(value, Tensor):
            value = torch.tensor(value if isinstance(value, list | tuple) else np.array(value))
        if not value.is_complex() and value.layout == torch.strided:
            return value
        kind = f"{value.dtype}, {value.layout}".removesuffix(", torch.strided")
    except (TypeError, ValueError, RuntimeError):  # words, None, ragged lists
        kind = type(value).__name__
    raise TypeError(
        f"got {name} of type {kind}; wanted a tensor, an array or lists of real numbers"
    )


def _whole(y: Tensor) -> Tensor:
    if y.is_floating_point():
        values = y.flatten()
        bad = values[(values != values.round()) | ~values.isfinite()]
        if len(bad):
            raise ValueError(
                f"got the label {float(bad[0]):g}; labels are whole numbers 0, 1, ..."
            )
    return y.long()


def _count(points: int) -> str:
    return "a point" if points == 1 else f"{points} points"


def needs_labels(network: nn.Module) -> bool:
    """Whether a network or a field cannot go without labels: it says so, or a part of it does."""
    own = getattr(network, "needs_labels", None)
    return any(map(needs_labels, network.children())) if own is None else bool(own)


def transformed() -> bool:
    """Whether a transform of ``torch.func`` runs, under which no value can be read."""
    return torch._C._are_functorch_transforms_active()


def unwritten(made: object, method: str) -> NotImplementedError:
    """The error of a class that leaves out a method which its base only states."""
    return NotImplementedError(f"{type(made).__name__} has no {method}(); write it in that class")
