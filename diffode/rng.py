"""Counter-based random numbers: a draw is a function, not a stream.

Element e of row i of a draw is ``Philox4x32-10(key=seed, counter=(e // 4, i, step, name))``: it
depends on the seed, the row's place in the *global* batch, the step and the name of the draw, and
on nothing else. So a sample does not change with the batch it is drawn in, two processes draw
what one does, and a resumed run needs no stored generator state.

Philox is integer arithmetic. The normals are made from its words with +, -, times, / and sqrt in
float64 only, which IEEE 754 rounds the same way everywhere: draws are bit-equal on every device.
(On a CPU numpy does them: torch's square root may be a vector library's, off by a last bit.)

Reference: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from itertools import product
from typing import Any, TypeAlias

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
_SQRT_HALF = struct.unpack("<q", struct.pack("<d", math.sqrt(0.5)))[0]  # the bits of the number
_AT_ONCE = {"cpu": 2**14}  # counters whose normals are made at a time, and stay in the cache
_LAUNCH = 2**22  # so many on other devices

Array: TypeAlias = (
    Any  # of numpy on a CPU, where it takes half of torch's time; elsewhere a tensor
)


def philox(counter: Sequence[Array], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Four random 32-bit words (held in int64) for each four-word counter: Philox4x32, ten rounds.

    Arguments:
        counter: four int64 arrays of words in [0, 2^32), shapes that broadcast; or four integers.
        key: two words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):  # c1 and c3 carry bits above the 32 of their words until they are used
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # wrap modulo 2^64
        c0, c2 = (p1 >> 32) ^ (c1 ^ k0), (p0 >> 32) ^ (c3 ^ k1)
        c0 &= _WORD
        c2 &= _WORD
        c1, c3 = p1, p0
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1 & _WORD, c2, c3 & _WORD


def _polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    value = x * coefficients[-1]
    for c in reversed(coefficients[1:-1]):
        value += c
        value *= x
    value += coefficients[0]
    return value


def _log(u: Array) -> Array:
    """Natural logarithm from exactly rounded operations: 2 atanh((m - 1) / (m + 1)) + e log 2.

    u = m 2^e with m from sqrt(1/2) to sqrt(2); both are read from the bits of u.
    """
    xp = _library(u)
    bits = u.view(xp.int64)
    exponent = (bits - _SQRT_HALF) >> 52
    mantissa = (bits - (exponent << 52)).view(xp.float64)
    s = (mantissa - 1) / (mantissa + 1)
    log = _polynomial(s * s, _ATANH)
    log *= s
    log *= 2
    log += xp.asarray(exponent, dtype=xp.float64) * math.log(2)
    return log


def _box_muller(radius_word: Array, angle_word: Array) -> tuple[Array, Array]:
    """Two independent standard normals from two words: sqrt(-2 log u) (cos, sin)(angle)."""
    xp = _library(angle_word)
    u = xp.asarray(radius_word, dtype=xp.float64) + 0.5
    u /= 2.0**32
    radius = xp.sqrt(_log(u) * -2)
    radius = xp.where(angle_word >= 2**31, -radius, radius)  # the lower quadrants
    x = xp.asarray(angle_word & 0x3FFFFFFF, dtype=xp.float64)
    x /= 2.0**30
    x -= 0.5
    x *= math.pi / 2
    square = x * x
    sine, cosine = _polynomial(square, _SIN) * x, _polynomial(square, _COS)
    odd = (angle_word & 2**30) != 0
    return xp.where(odd, -sine, cosine) * radius, xp.where(odd, cosine, sine) * radius


def _library(x: Array) -> Any:  # noqa: ANN401
    """numpy or torch, of which only what both have is used here."""
    return torch if isinstance(x, Tensor) else np


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
        places, blocks = self._counters(n, words, device)
        out = torch.empty(len(places), len(blocks), 4, dtype=torch.int64, device=device)
        for k, word in enumerate(self._words(name, places, blocks)):
            out[..., k] = torch.as_tensor(word)
        return out.flatten(1)[:, :words]

    def _counters(self, n: int, words: int, device: torch.device | str) -> tuple[Array, Array]:
        """The places of n rows in the global batch, and the blocks of so many words each."""
        n = as_count(n, "n")
        if n < 0:
            raise ValueError(f"got n={n}; a draw has 0 rows or more")
        rows = torch.arange(n, device=device) if self._rows is None else self._rows.to(device)
        if len(rows) != n:
            raise ValueError(f"{n} rows were asked of a generator of {len(rows)} rows")
        blocks = torch.arange((words + 3) // 4, device=device)
        return (rows.numpy(), blocks.numpy()) if rows.device.type == "cpu" else (rows, blocks)

    def _words(self, name: str, places: Array, blocks: Array) -> tuple[Array, ...]:
        """The four words of each row and block, shapes (rows, blocks)."""
        step, which = (blocks[:1, None] * 0 + w for w in (self.step, zlib.crc32(name.encode())))
        counter = (blocks[None, :], places[:, None], step, which)
        return philox(counter, (self.seed & _WORD, self.seed >> 32))

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
        counter = (0, 0, self.step, zlib.crc32(name.encode()))
        high, low, *_ = philox(counter, (self.seed & _WORD, self.seed >> 32))
        shift = (((high << 20) | (low >> 12)) + 0.5) / 2.0**52  # of row 0, as `uniform` has it
        rows = torch.arange(n, device=device) if self._rows is None else self._rows.to(device)
        u: Tensor = (shift + rows.double() * ((math.sqrt(5) - 1) / 2)) % 1.0
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
        places, blocks = self._counters(shape[0], size, device)
        out = torch.empty(len(places), len(blocks), 4, dtype=dtype, device=device)
        at_once = _AT_ONCE.get(out.device.type, _LAUNCH)
        wide = max(1, min(len(blocks), at_once))
        tall = at_once // wide
        for i, j in product(range(0, len(places), tall), range(0, len(blocks), wide)):
            w = self._words(name, places[i : i + tall], blocks[j : j + wide])
            pairs = [(w[0], w[1]), (w[2], w[3])][: (size + 1) // 2]
            for k, normals in enumerate(n for pair in pairs for n in _box_muller(*pair)):
                out[i : i + tall, j : j + wide, k] = torch.as_tensor(normals)
        return out.flatten(1)[:, :size].reshape(*shape)

    def chi2(self, name: str, n: int, dof: float, device: torch.device | str = "cpu") -> Tensor:
        """Chi-squared draws with any real dof > 0, shape (n,), float64, by the inverse CDF.

        For 1 and 2 degrees of freedom it has a closed form, which takes a hundredth of the time.
        Each tail is inverted from its own side, so that no draw is 0 or infinite by rounding.
        """
        from scipy.special import erfcinv, erfinv, gammainccinv, gammaincinv

        u = self.uniform(name, (n,)).numpy()
        low, half = u < 0.5, np.empty_like(u)
        if dof == 1:  # the square of a normal number
            half[low], half[~low] = erfinv(u[low]) ** 2, erfcinv(1 - u[~low]) ** 2
        elif dof == 2:  # an exponential law
            half = -np.log1p(-u)
        else:
            half[low] = gammaincinv(dof / 2, u[low])
            half[~low] = gammainccinv(dof / 2, 1 - u[~low])
        return torch.from_numpy(2 * half).clamp_min(torch.finfo(torch.float64).tiny).to(device)

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
