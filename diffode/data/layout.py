"""How the axes of an array are taken: as points, signals or images.

======================= ======================= ================== =================
array                   with ``auto`` taken as  becomes            said by ``layout``
======================= ======================= ================== =================
(M,)                    M numbers               (M, 1)             points
(M, D)                  M points                the same           points
(M, H, W) of bytes, or  gray images             (M, 1, H, W)       images
of sides from 8 on
(M, C, L), others       signals of C channels   the same           signals
(M, C, H, W)            images or latents       the same           images
(M, H, W, C), C = 1, 3  images, channels last   (M, C, H, W)       channels-last
or 4, W another, and H
none of these
======================= ======================= ================== =================

Where both the second and the last axis could be channels, 1 or 3 goes before 4, and the second
axis before the last. ``points`` takes any array as rows of numbers, (M, D); ``signals`` takes
(M, L) as one channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from diffode.data.npy import Array
from diffode.data.source import Rows
from diffode.inputs import quoted

SIDE = 8  # of gray images, at least, where numbers could be signals too


@dataclass(frozen=True)
class Layout:
    r"""What rows are, and how they become events.

    Attributes:
        kind: "points", "signals" or "images".
        event_shape: what each row becomes.
        given: the axes as they came, in words.
        last: whether the channels stand last.
    """

    kind: str
    event_shape: tuple[int, ...]
    given: str
    last: bool = False

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of events that share a unit: none of points, all but the channels of others."""
        return () if self.kind == "points" else tuple(range(1, len(self.event_shape)))

    def __call__(self, rows: Array) -> Array:
        r"""Rows as they came, (B, \*given), as events (B, \*event)."""
        rows = np.moveaxis(rows, -1, 1) if self.last else rows
        return rows.reshape(len(rows), *self.event_shape)

    def __str__(self) -> str:
        return f"{self.given} taken as {self.kind}, events of shape {self.event_shape}"


class Numbers(Rows, Protocol):
    """Rows of numbers of one type."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type."""


@dataclass(frozen=True)
class Arranged:
    """Rows whose axes are put in order when they are read.

    Attributes:
        rows: as they came.
        layout: how their axes are taken.
        levels: the least gray level and the step between two, which half precision has rounded
            and which are made exact again; None leaves all numbers as they are.
    """

    rows: Numbers
    layout: Layout
    levels: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        r"""The shape (M, \*event) of all of them."""
        return (self.rows.shape[0], *self.layout.event_shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of their numbers, in the order of this machine's bytes."""
        native = self.rows.dtype.newbyteorder("=")
        return native if self.levels is None else np.dtype(np.float32)

    def __getitem__(self, index: Any) -> Array:  # noqa: ANN401
        r"""The rows at these places, (B, \*event)."""
        x = self.layout(self.rows[index])
        if self.levels is None:
            return x
        low, step = self.levels
        return (np.rint((x.astype(np.float64) - low) / step) * step + low).astype(np.float32)


def layout_of(shape: tuple[int, ...], is_bytes: bool, asked: str = "auto") -> Layout:
    """How an array of this shape is taken.

    Arguments:
        shape: of the array, rows first.
        is_bytes: whether its numbers are bytes.
        asked: "auto", or what it is to be taken as.

    Raises:
        ValueError: a shape that is not taken, or not as what was asked for.
    """
    axes = len(shape)
    if axes == 1:
        shape = (*shape, 1)
    if asked == "points" or (asked == "auto" and axes in (1, 2)):
        return Layout("points", (math.prod(shape[1:]),), _words("D" * (axes > 1)))
    if asked == "signals" and axes in (2, 3):
        event = (1, shape[1]) if axes == 2 else shape[1:]
        return Layout("signals", event, _words("CL"[3 - axes :]))
    if axes == 3 and asked in ("auto", "images"):
        if asked == "images" or is_bytes or min(shape[1:]) >= SIDE:
            return Layout("images", (1, *shape[1:]), _words("HW"))
        return Layout("signals", shape[1:], _words("CL"))
    if axes == 4 and asked in ("auto", "images", "channels-last"):
        if asked == "channels-last" or (asked == "auto" and _are_last(shape)):
            return Layout("images", (shape[3], *shape[1:3]), _words("HWC"), last=True)
        return Layout("images", shape[1:], _words("CHW"))
    raise ValueError(_refusal(shape if axes != 1 else shape[:1], asked))


def _are_last(shape: tuple[int, ...]) -> bool:
    """Whether the channels of images stand last."""
    _, second, third, last = shape
    if second in (1, 3) or last not in (1, 3, 4) or third == last:
        return False
    return last in (1, 3) or second != 4


def _words(axes: str) -> str:
    return f"({', '.join(('rows', *axes))}{',' * (not axes)})"


def _refusal(shape: tuple[int, ...], asked: str) -> str:
    """Why an array of this shape is not taken."""
    if asked != "auto":
        return f"got layout={quoted(asked)} for an array of shape {shape}, which has other axes"
    return (
        f"got an array of shape {shape}; wanted (rows, D) for points, (rows, C, L) for signals, "
        "(rows, H, W) or (rows, C, H, W) for images; reshape it, or make points of its rows with "
        "--layout points"
    )
