"""Counter-based random numbers: a draw is a function, not a stream.

Element e of row i of a draw is ``Philox4x32-10(key=seed, counter=(e // 4, i, step, name))``: it
depends on the seed, the row's place in the *global* batch, the step and the name of the draw, and
on nothing else. So a sample does not change with the batch it is drawn in, two processes draw
what one does, and a resumed run needs no stored generator state.

Philox is integer arithmetic. The normals are made from its words with +, -, times, / and sqrt in
float64 only, which IEEE 754 rounds the same way everywhere: draws are bit-equal on every device.
(On a CPU the square root is numpy's: torch's may be a vector library's, off by a last bit.)

Reference: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diffode.doors import as_count, as_labels, as_shape

_WORD = 0xFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: its multiples are far apart
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ATANH = [1 / (2 * k + 1) for k in range(12)]
_SIN = [(-1) ** k / math.factorial(2 * k + 1) for k in range(9)]
_COS = [(-1) ** k / math.factorial(2 * k) for k in range(9)]


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Four random 32-bit words (held in int64) for each four-word counter: Philox4x32, ten rounds.

    Arguments:
        counter: four int64 tensors of words in [0, 2^32), shapes that broadcast.
        key: two words.
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)  # type: ignore[no-untyped-call]
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # wrap modulo 2^64
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _WORD) ^ c1 ^ k0,
            p1 & _WORD,
            ((p0 >> 32) & _WORD) ^ c3 ^ k1,
            p0 & _WORD,
        )
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return [c0, c1, c2, c3]


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = value.mul_(x).add_(c)
    return value


def _log(u: Tensor) -> Tensor:
    """Natural logarithm from exactly rounded operations: 2 atanh((m - 1) / (m + 1)) + e log 2."""
    mantissa, exponent = torch.frexp(u)
    low = mantissa < math.sqrt(0.5)
    mantissa = torch.where(low, mantissa * 2, mantissa)
    s = (mantissa - 1) / (mantissa + 1)
    series = _polynomial(s * s, _ATANH) * s * 2
    return series + (exponent - low.to(exponent.dtype)).to(u.dtype) * math.log(2)


def _sqrt(x: Tensor) -> Tensor:
    """The square root, exactly rounded."""
    return torch.sqrt(x) if x.is_cuda else torch.from_numpy(np.sqrt(x.numpy()))


def _box_muller(radius_word: Tensor, angle_word: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normals from two words: sqrt(-2 log u) (cos, sin)(angle)."""
    u = (radius_word.double() + 0.5) / 2.0**32
    radius = _sqrt(_log(u) * -2)
    quadrant = angle_word >> 30
    x = ((angle_word & 0x3FFFFFFF).double() / 2.0**30 - 0.5) * (math.pi / 2)
    sine, cosine = _polynomial(x * x, _SIN) * x, _polynomial(x * x, _COS)
    odd = (quadrant & 1).bool()
    first = torch.where(odd, -sine, cosine) * radius
    second = torch.where(odd, cosine, sine) * radius
    flip = quadrant >= 2
    return torch.where(flip, -first, first), torch.where(flip, -second, second)


class Rng:
    """A source of random numbers in which row i of a draw depends on (seed, i, step, name) alone.

    Arguments:
        seed: any integer in [0, 2^64).
        step: the training or solver step that the draws belong to, in [0, 2^32).
        rows: global positions of the rows drawn, shape (B,), each in [0, 2^32); None means 0, 1,
            ..., B - 1.

    Raises:
        ValueError: a seed, step or row out of range.
    """

    def __init__(self, seed: int = 0, *, step: int = 0, rows: Tensor | None = None) -> None:
        seed, step = as_count(seed, "seed"), as_count(step, "step")
        if not 0 <= seed < 2**64:
            raise ValueError(f"got seed {seed}; use an integer from 0 to 2^64 - 1")
        if not 0 <= step < 2**32:
            raise ValueError(f"got step {step}; a step counts from 0 to 2^32 - 1")
        rows = as_labels(rows, None)
        if rows is not None and len(rows) and not (rows.min() >= 0 and rows.max() <= _WORD):
            low, high = int(rows.min()), int(rows.max())
            raise ValueError(f"got rows {low} to {high}; rows count from 0 to 2^32 - 1")
        self.seed, self.step, self._rows = seed, step, rows

    def __repr__(self) -> str:
        return f"Rng(seed={self.seed}, step={self.step})"

    def at(self, step: int) -> Rng:
        """The same rows at another step."""
        other = Rng(self.seed, step=step)
        other._rows = self._rows
        return other

    def again(self, time: int) -> Rng:
        """Other numbers for the same rows, for what begins anew a ``time``-th time."""
        other = Rng(self.seed ^ (time * _GOLDEN) % 2**64, step=self.step)
        other._rows = self._rows
        return other

    def rows(self, index: Tensor) -> Rng:
        """The generator whose row k is this one's row ``index[k]``, for shards of a batch."""
        rows = index if self._rows is None else self._rows.to(index.device)[index]
        return Rng(self.seed, step=self.step, rows=rows)

    def bits(self, name: str, n: int, words: int, device: torch.device | str = "cpu") -> Tensor:
        """Random 32-bit words in an int64 tensor of shape (n, words)."""
        n = as_count(n, "n")
        if n < 0:
            raise ValueError(f"got n={n}; a draw has 0 rows or more")
        rows = torch.arange(n, device=device) if self._rows is None else self._rows.to(device)
        if len(rows) != n:
            raise ValueError(f"{n} rows were asked of a generator of {len(rows)} rows")
        blocks = torch.arange((words + 3) // 4, device=device)
        fixed = [torch.tensor(w, device=device) for w in (self.step, zlib.crc32(name.encode()))]
        counter = (blocks[None, :], rows[:, None], *fixed)
        out = torch.stack(philox(counter, (self.seed & _WORD, self.seed >> 32)), dim=-1)
        return out.flatten(1)[:, :words]

    def uniform(
        self, name: str, shape: Sequence[int], device: torch.device | str = "cpu"
    ) -> Tensor:
        """Uniform draws in the open interval (0, 1), from 52 random bits each, in float64."""
        shape = as_shape(shape)
        size = math.prod(shape[1:])
        words = self.bits(name, shape[0], 2 * size, device).view(shape[0], 2, size)
        k = (words[:, 0] << 20) | (words[:, 1] >> 12)
        return ((k.double() + 0.5) / 2.0**52).view(*shape)

    def spread(self, name: str, n: int, device: torch.device | str = "cpu") -> Tensor:
        r"""Uniform draws in (0, 1) that cover it evenly, shape (n,), float64.

        Row i is :math:`(U + i \phi) \bmod 1` with one uniform U for the step and :math:`\phi` the
        golden section: each row is uniform, and any run of rows is spread more evenly than
        independent draws.
        """
        shift = Rng(self.seed, step=self.step).uniform(name, (1,), device=device)
        rows = torch.arange(n, device=device) if self._rows is None else self._rows.to(device)
        u = (shift + rows.double() * ((math.sqrt(5) - 1) / 2)) % 1.0
        return u.clamp(2.0**-53, 1 - 2.0**-53)

    def normal(
        self,
        name: str,
        shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Standard normal draws of the given shape, rows first."""
        shape = as_shape(shape)
        size = math.prod(shape[1:])
        half = (size + 1) // 2
        words = self.bits(name, shape[0], 2 * half, device)
        pair = _box_muller(words[:, 0::2], words[:, 1::2])
        return torch.stack(pair, dim=-1).flatten(1)[:, :size].to(dtype).reshape(*shape)

    def chi2(self, name: str, n: int, dof: float, device: torch.device | str = "cpu") -> Tensor:
        """Chi-squared draws with any real dof > 0, shape (n,), float64, by the inverse CDF.

        Each tail is inverted from its own side, so that no draw is 0 or infinite by rounding.
        """
        from scipy.special import gammainccinv, gammaincinv

        u = self.uniform(name, (n,)).numpy()
        low = u < 0.5
        draw = np.empty_like(u)
        draw[low] = gammaincinv(dof / 2, u[low])
        draw[~low] = gammainccinv(dof / 2, 1 - u[~low])
        return torch.from_numpy(2 * draw).clamp_min(torch.finfo(torch.float64).tiny).to(device)

    def permutation(self, name: str, n: int) -> Tensor:
        """A permutation of 0 ... n - 1, shape (n,), from the seed, the step and the name."""
        return Rng(self.seed, step=self.step).uniform(name, (n,)).argsort(stable=True)


def as_rng(rng: object) -> Rng:
    """The generator that a caller passed.

    Raises:
        TypeError: something else, such as a seed or a generator of torch.
    """
    if not isinstance(rng, Rng):
        raise TypeError(f"got rng of type {type(rng).__name__}; wanted diffode.Rng(seed)")
    return rng
