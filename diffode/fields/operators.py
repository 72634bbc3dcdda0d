r"""Linear observations :math:`y = H x_0 + s_y e`: masks, block means, blurs, matrices, functions.

Each maker gives a `LinearOperator`: called with points (B, \*event) it answers (B, \*observed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffode.doors import Numbers, as_count, as_positive, as_shape, as_state
from diffode.fields.linear import Gram, LinearOperator
from diffode.rng import Rng

__all__ = ["LinearOperator", "blur", "downsample", "mask", "matrix", "operator"]

_LINEAR = 1e-4  # how far a function may be from linear, relative: single precision is
_Function = Callable[[Tensor], Tensor]


class _Mask(LinearOperator):
    """Some of the coordinates, in their order."""

    index: Tensor

    def __init__(self, where: Tensor) -> None:
        index = where.flatten().nonzero()[:, 0]
        super().__init__("mask", where.shape, (len(index),), apart=True)
        self.register_buffer("index", index)

    def image(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self.index]

    def pulled(self, y: Tensor) -> Tensor:
        blank = y.new_zeros(len(y), math.prod(self.event_shape))
        return blank.index_copy(1, self.index, y).view(-1, *self.event_shape)


class _Axes(LinearOperator):
    """A matrix along the last axis, and the like along the one before."""

    columns: Tensor
    across: Tensor | None

    def __init__(
        self, name: str, event_shape: tuple[int, ...], matrices: Sequence[Tensor], apart: bool
    ) -> None:
        kept = event_shape[: len(event_shape) - len(matrices)]
        super().__init__(name, event_shape, (*kept, *(len(a) for a in matrices)), apart)
        self.register_buffer("columns", matrices[-1])
        self.register_buffer("across", matrices[0] if len(matrices) == 2 else None)

    def image(self, x: Tensor) -> Tensor:
        x = x @ self.columns.to(x).mT
        return x if self.across is None else self.across.to(x) @ x

    def pulled(self, y: Tensor) -> Tensor:
        y = y @ self.columns.to(y)
        return y if self.across is None else self.across.to(y).mT @ y

    def gram(self) -> Gram:
        values, columns = torch.linalg.eigh(self.columns @ self.columns.mT)
        rows = None
        if self.across is not None:
            heights, rows = torch.linalg.eigh(self.across @ self.across.mT)
            values = heights[:, None] * values
        return Gram(values.expand(self.observed_shape).contiguous(), columns, rows)


class _Matrix(LinearOperator):
    """A matrix on the flattened event."""

    matrix: Tensor

    def __init__(self, matrix: Tensor, event_shape: tuple[int, ...]) -> None:
        super().__init__("matrix", event_shape, (len(matrix),))
        self.register_buffer("matrix", matrix)

    def image(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.to(x).mT

    def pulled(self, y: Tensor) -> Tensor:
        return (y @ self.matrix.to(y)).view(-1, *self.event_shape)


class _Pair(LinearOperator):
    """A function and its adjoint, which is found by differentiation where it is not given."""

    def __init__(
        self, image: _Function, pulled: _Function | None, event_shape: tuple[int, ...]
    ) -> None:
        seen = _tried(image, torch.zeros(1, *event_shape, dtype=torch.float64))
        super().__init__("function", event_shape, tuple(seen.shape[1:]))
        if pulled is not None:
            _tried(pulled, torch.zeros_like(seen))
        self._image, self._pulled = image, pulled

    def image(self, x: Tensor) -> Tensor:
        return _answer(self._image, x.double()).to(x.dtype)

    def pulled(self, y: Tensor) -> Tensor:
        if self._pulled is not None:
            return _answer(self._pulled, y.double()).to(y.dtype)
        blank = y.new_zeros(len(y), *self.event_shape)
        (answer,) = torch.func.vjp(self.image, blank)[1](y)
        return answer  # type: ignore[no-any-return]


def mask(where: Numbers, event_shape: Sequence[int] | None = None) -> LinearOperator:
    """Some coordinates seen, the others not: y are the seen ones in their order, shape (m,).

    Arguments:
        where: what is seen: booleans (or 0 and 1) of the event's shape, or of its last axes, such
            as (H, W) for all channels.
        event_shape: of one point; None is the shape of ``where``.

    Raises:
        ValueError: nothing is seen, numbers other than 0 and 1, or shapes that do not fit.
    """
    seen = torch.as_tensor(where)
    event = tuple(seen.shape) if event_shape is None else as_shape(event_shape)
    if seen.dtype != torch.bool and not bool(((seen == 0) | (seen == 1)).all()):
        raise ValueError("got a mask with numbers but 0 and 1; wanted True for what is seen")
    if not event or seen.ndim > len(event) or event[len(event) - seen.ndim :] != seen.shape:
        raise ValueError(
            f"got a mask of shape {tuple(seen.shape)} for points of shape {event}; wanted that "
            "shape, or its last axes"
        )
    if not bool(seen.any()):
        raise ValueError("got a mask in which nothing is seen; wanted one coordinate at least")
    return _Mask(seen.bool().expand(event))


def downsample(event_shape: Sequence[int], factor: int) -> LinearOperator:
    """Means of blocks: of factor x factor pixels on the last two axes, or on an only axis.

    Arguments:
        event_shape: of one point.
        factor: the side of a block; it divides these axes.

    Raises:
        ValueError: a factor below 2, or one that does not divide an axis.
    """
    event, factor = as_shape(event_shape), as_count(factor, "factor", 2)
    for size in event[-2:]:
        if size % factor:
            raise ValueError(
                f"got factor {factor} for points of shape {event}; wanted one that divides "
                f"{' and '.join(map(str, event[-2:]))}"
            )
    blocks = [_block_means(size, factor) for size in event[-2:]]
    return _Axes(f"means of blocks of {factor}", event, blocks, apart=True)


def blur(event_shape: Sequence[int], std: float) -> LinearOperator:
    r"""A Gaussian blur along the last two axes, or an only axis.

    Beyond its border an event is mirrored (the border pixel is repeated first), so that a
    constant stays what it is. The blur is its own adjoint.

    Arguments:
        event_shape: of one point.
        std: of the Gaussian, in pixels.

    Raises:
        ValueError: a std that is not a positive finite number.
    """
    event = as_shape(event_shape)
    std = as_positive(std, "std", "in pixels")
    return _Axes(
        f"Gaussian blur of std {std:g}",
        event,
        [_mirrored(n, std) for n in event[-2:]],
        apart=False,
    )


def matrix(values: Numbers, event_shape: Sequence[int] | None = None) -> LinearOperator:
    r"""Any matrix on the flattened event: y = A x of shape (m,).

    Arguments:
        values: A, shape (m, N).
        event_shape: of one point, N numbers; None is (N,).

    Raises:
        ValueError: another shape, numbers that are not finite, or all of them 0.
    """
    a = as_state(values, name="a matrix").double()
    event = tuple(a.shape[1:]) if event_shape is None else as_shape(event_shape)
    if a.ndim != 2 or a.shape[1] != math.prod(event):
        raise ValueError(
            f"got a matrix of shape {tuple(a.shape)} for points of shape {event}; wanted "
            f"(m, {math.prod(event)})"
        )
    if not bool(a.isfinite().all()) or not bool(a.any()):
        raise ValueError("got a matrix of zeros, or with numbers that are not finite")
    return _Matrix(a, event)


def operator(
    forward: _Function, event_shape: Sequence[int], adjoint: _Function | None = None
) -> LinearOperator:
    r"""A linear function of points (B, \*event), such as a projection of a scanner.

    It is tried on random points, on the CPU: a function that is not linear, or a pair that is not
    adjoint, is refused. An affine function y = H x + c is one of y - c.

    Arguments:
        forward: H, from (B, \*event) to (B, \*observed), each row alone. It is called with
            float64 numbers, whatever the type of the points: a module has to be ``.double()``.
        event_shape: of one point.
        adjoint: :math:`H^\top`, from (B, \*observed) to (B, \*event); None is found by
            differentiation, one backward pass of ``forward`` a call.

    Raises:
        TypeError: what gives no tensor of floating-point numbers, or fails on float64 alone.
        ValueError: a function that fails or is not linear, or a pair that is not adjoint.
    """
    made = _Pair(forward, adjoint, as_shape(event_shape))
    _require_linear(made)
    return made


def _block_means(size: int, factor: int) -> Tensor:
    return torch.eye(size // factor).double().repeat_interleave(factor, 1) / factor


def _mirrored(size: int, std: float) -> Tensor:
    """The blur of an axis, (size, size): the kernel at an index and at its mirror images.

    Beyond a std of 4 sizes it is the mean, to the last bit.
    """
    i, std = torch.arange(size).double(), min(std, 4 * size)
    reach = math.ceil(8 * std / size) + 1
    shifts = 2 * size * torch.arange(-reach, reach + 1).double()[:, None, None]
    distances = torch.cat((i[:, None] - i - shifts, i[:, None] + i + 1 - shifts))
    kernel = (-(distances / std).square() / 2).exp().sum(0)
    return kernel / kernel.sum(1, keepdim=True)


def _answer(function: _Function, x: Tensor) -> Tensor:
    """What a function gives for x, if it is numbers for each row."""
    y = function(x)
    if not isinstance(y, Tensor) or not y.is_floating_point():
        kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"the operator's function gave {kind}; wanted a floating-point tensor")
    if y.ndim < 2 or len(y) != len(x):
        raise ValueError(
            f"the operator's function gave shape {tuple(y.shape)} for {len(x)} points; wanted "
            f"({len(x)}, *observed)"
        )
    return y


def _tried(function: _Function, x: Tensor, cure: str = "") -> Tensor:
    """The same where it is tried first: a failure is told in one line, but for want of memory."""
    try:
        return _answer(function, x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        text = " ".join(str(error).split()).rstrip(".")
        said = f"the operator's function fails on {x.dtype} of shape {tuple(x.shape)}: {text}"
        if _runs(function, x.float()) or _runs(function, x.half()):
            cure = "; wanted one of float64 numbers: module.double(), or weight.to(x)"
            raise TypeError(said + cure) from error
        raise ValueError(said + cure) from error


def _runs(function: _Function, x: Tensor) -> bool:
    try:
        function(x)
    except Exception:  # a user's function may raise anything
        return False
    return True


@torch.no_grad()
def _require_linear(made: _Pair) -> None:
    """Refuse a function that is not linear row by row, and what is not its adjoint."""
    u, v = Rng(0).normal("operator/x", (2, 3, *made.event_shape), torch.float64)
    hu, hv, both = (_tried(made, z) for z in (u, v, 2 * u - 3 * v))
    size = max(float(h.norm()) for h in (hu, hv))
    parts = torch.cat([made(row[None]) for row in u])
    off = max(float((both - 2 * hu + 3 * hv).norm()), float((parts - hu).norm()))
    if not 0 < size < math.inf or not off <= _LINEAR * size:
        raise ValueError(
            "got a function that is not linear, row by row: H(2u - 3v) is not 2 Hu - 3 Hv, or H "
            "is 0, or not finite; of y = H x + c pass H, and y - c as the observation"
        )
    w = Rng(0).normal("operator/y", hu.shape, torch.float64)
    cure = "; pass adjoint where H cannot be differentiated" if made._pulled is None else ""
    back = _tried(made.adjoint, w, cure)
    fits = back.shape == u.shape
    gap = (hu * w).flatten(1).sum(1) - (u * back).flatten(1).sum(1) if fits else w
    if not fits or not float(gap.norm()) <= _LINEAR * size * float(w.norm()):
        raise ValueError(f"got a pair that is not adjoint: <H u, w> is not <u, H^T w>{cure}")
