"""What a field may know of its data: mean, scale, principal variances."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from diffode.data.principal import principal_std, rows_for
from diffode.data.source import Samples, Source, chunks, require_finite, width
from diffode.data.sums import Sums, keep
from diffode.doors import as_state
from diffode.rng import Rng

_LARGEST_BASIS = 1024
_NO_VARIANCE = "the data does not vary; a flow needs at least two different samples"
_SAME = 1e-4  # of a statistic: far above what machines differ by


@dataclass(frozen=True)
class Stats:
    r"""Moments of a data set, stored in every checkpoint.

    Attributes:
        mean: m, shape (\*event).
        std: the rms standard deviation s about m, over all coordinates.
        spectrum: the data's variances on the axes of the basis, shape (N,).
        basis: the principal axes as columns, shape (N, N), for N up to 1,024; None beyond, where
            the axes are the cosines of images or the coordinates of vectors.
        norm: the mean Euclidean norm of a sample.
        count: the number of samples.
        measured: `principal_std` by some of the samples, where there is no basis.
    """

    mean: Tensor
    std: float
    spectrum: Tensor
    basis: Tensor | None
    norm: float
    count: int
    measured: float | None = None

    @property
    def principal_std(self) -> float:
        """The standard deviation along the main axes, see `diffode.data.principal`."""
        if self.measured is not None:
            return self.measured
        variances = self.spectrum.double()
        return math.sqrt(float(variances.square().sum() / variances.sum()))

    def tensors(self) -> dict[str, Tensor]:
        """The statistics as named tensors."""
        named = {"mean": self.mean, "spectrum": self.spectrum}
        named |= {} if self.basis is None else {"basis": self.basis}
        numbers = {"std": self.std, "norm": self.norm, "count": self.count}
        numbers |= {} if self.measured is None else {"principal_std": self.measured}
        return named | {k: torch.tensor(v, dtype=torch.float64) for k, v in numbers.items()}

    @classmethod
    def from_tensors(cls, named: dict[str, Tensor]) -> Stats:
        """The statistics that `tensors` named.

        Raises:
            KeyError: one is missing.
            ValueError: one of another shape, or values that no data have.
        """
        n = named["mean"].numel()
        sizes = {
            "mean": n,
            "std": 1,
            "norm": 1,
            "count": 1,
            "principal_std": 1,
            "spectrum": n,
            "basis": n * n,
        }
        for name, size in sizes.items():
            value = named.get(name)
            if value is not None and (value.numel() != size or not bool(value.isfinite().all())):
                raise ValueError(
                    f"the statistics of the data are damaged: {name} has {value.numel()} numbers, "
                    f"wanted {size}, all finite"
                )
        spectrum = named["spectrum"].double()
        if float(spectrum.sum()) <= 0 or float(spectrum.min()) < -_SAME * float(spectrum.max()):
            raise ValueError("the statistics of the data are damaged: variances below 0")
        for name in ("std", "norm", "count", "principal_std"):
            known = float(named.get(name, 1))
            if known < 0 or (known == 0 and name != "count"):  # which 0 leaves unknown
                raise ValueError(f"the statistics of the data are damaged: {name} is {known:g}")
        return cls(
            mean=named["mean"],
            std=float(named["std"]),
            spectrum=named["spectrum"],
            basis=named.get("basis"),
            norm=float(named["norm"]),
            count=int(named["count"]),
            measured=float(named["principal_std"]) if "principal_std" in named else None,
        )

    def about_zero(self) -> Stats:
        """The same moments about 0: the mean is 0, and what it was counts as variance."""
        n, m = self.mean.numel(), self.mean.flatten().double()
        basis, spectrum = self.basis, self.spectrum.double()
        if basis is None:
            spectrum = spectrum + spectral(self.mean[None], None).flatten().square()
        else:
            second = (basis.double() * spectrum) @ basis.double().T + m[:, None] * m
            spectrum, axes = torch.linalg.eigh(second)
            basis = axes.float()
        return replace(
            self,
            mean=torch.zeros_like(self.mean),
            std=math.sqrt(self.std**2 + float(m.square().sum()) / n),
            spectrum=spectrum.clamp_min(0).float(),
            basis=basis,
            measured=self.principal_std,
        )

    def differs(self, other: Stats) -> str | None:
        """What is not the same in the statistics of other data, to four digits, if anything."""
        if self.count != other.count:
            return f"{self.count} samples, not {other.count}"
        for name, one, two in (("std", self.std, other.std), ("norm", self.norm, other.norm)):
            if abs(one - two) > _SAME * max(one, two):
                return f"{name} {one:.6g}, not {two:.6g}"
        gap = float((self.mean.double() - other.mean.double()).abs().max())
        return f"a mean that is off by {gap:.3g}" if gap > _SAME * (self.norm + self.std) else None

    @classmethod
    def unit(cls, shape: tuple[int, ...]) -> Stats:
        """The statistics of standardised data of this event shape, for a field without data."""
        dim = math.prod(shape)
        basis = None if dim > _LARGEST_BASIS else torch.eye(dim)
        return cls(torch.zeros(shape), 1.0, torch.ones(dim), basis, math.sqrt(dim), 0)


_KNOWN: WeakKeyDictionary[Source, Stats] = WeakKeyDictionary()  # its rows do not change


def data_stats(x: Samples) -> Stats:
    r"""Measure a data set, a piece of it at a time; a source is read through once.

    Arguments:
        x: samples, shape (M, \*event), M >= 2.

    Raises:
        ValueError: fewer than two samples, values that are not finite, or no variance at all.
    """
    x = x if isinstance(x, Source) else as_state(x, name="data").detach()
    if len(x) < 2 or len(x.shape) < 2 or 0 in x.shape:
        raise ValueError(
            f"got data of shape {tuple(x.shape)}; wanted (M, *event) with M >= 2, no size of 0"
        )
    if isinstance(x, Source):
        if x not in _KNOWN:
            _KNOWN[x] = _streamed(x)
        return _KNOWN[x]
    n, count = width(x), len(x)
    total, norms, some = torch.zeros(n, dtype=torch.float64), 0.0, _Some(count, n)
    for part in _flat(x):
        some.add(part)
        total += require_finite(part).sum(0).cpu()
        norms += float(part.norm(dim=1).sum())
    mean = total / count
    squares, second = 0.0, _none(n)
    for part in _flat(x):
        u = part.cpu() - mean
        squares += float(u.square().sum())
        second += _second(u, x.shape[1:])
    stats = _stats(x, mean, squares / (count * n), second / count, norms, some)
    if stats.basis is None:
        return stats
    rows = (spectral(part.cpu() - mean, stats.basis).square().sum(0) for part in _flat(x))
    return replace(stats, spectrum=(sum(rows, torch.zeros_like(mean)) / count).float())


def _streamed(x: Source) -> Stats:
    r"""The statistics of a source by one pass, about its first sample c.

    .. math:: m = c + d, \qquad C = E[(x - c)(x - c)^T] - d d^T, \qquad d = E[x - c].
    """
    n, count, shape, sums, norms, squares = width(x), len(x), x.shape[1:], Sums(x), 0.0, 0.0
    near, total, second = x[:1].flatten().double(), torch.zeros(n).double(), _none(n)
    some = _Some(count, n)
    for part in _flat(x):
        some.add(part)
        sums.add(require_finite(part))
        norms += float(part.norm(dim=1).sum())
        u = part - near
        total += u.sum(0)
        squares += float(u.square().sum())
        second += _second(u, shape)
    keep(x, sums)
    d = total / count
    variance = (squares / count - float(d.square().sum())) / n
    return _stats(x, near + d, variance, second / count - _second(d[None], shape), norms, some)


class _Some:
    """The samples by which `principal_std` is measured, kept as the data go by.

    They lie in one block. Pieces kept apart would lie between those that are read and freed, and
    the process would grow by as much as it reads.
    """

    def __init__(self, count: int, n: int) -> None:
        rows = 0 if n <= _LARGEST_BASIS else rows_for(n)
        self._wanted = Rng().permutation("principal", count)[:rows]
        self._block: Tensor | None = None
        self._passed = self._kept = 0

    def add(self, part: Tensor) -> None:
        """The next samples, flattened."""
        if self._block is None:
            self._block = part.new_empty(len(self._wanted), part.shape[1])
        place = self._wanted - self._passed
        for row in place[(place >= 0) & (place < len(part))].tolist():
            self._block[self._kept] = part[row]
            self._kept += 1
        self._passed += len(part)

    def rows(self) -> Tensor:
        """Those that were wanted, shape (M, N)."""
        assert self._block is not None and self._kept == len(self._block)
        return self._block


def _none(n: int) -> Tensor:
    """The second moments of no rows of N values: a matrix, or a column beyond 1,024."""
    return torch.zeros(n, n if n <= _LARGEST_BASIS else 1, dtype=torch.float64)


def _second(u: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The second moments of rows u (B, N), summed: u^T u, or the squares on the axes (N, 1)."""
    if u.shape[1] <= _LARGEST_BASIS:
        return u.T @ u
    return spectral(u.view(-1, *shape), None).square().sum(0)[:, None]


def _stats(
    x: Samples, mean: Tensor, variance: float, second: Tensor, norms: float, some: _Some
) -> Stats:
    """The statistics by their moments: of a value about the mean, and as `_second` has them."""
    if not variance > 0:
        raise ValueError(_NO_VARIANCE)
    basis, spectrum, std, measured = None, second[:, 0], math.sqrt(variance), None
    if len(second) <= _LARGEST_BASIS:
        basis = torch.linalg.eigh(second)[1].float()
        spectrum = (basis.double() * (second @ basis.double())).sum(0)
    else:
        measured = principal_std(some.rows(), mean, std)
    return Stats(
        mean=mean.float().view(x.shape[1:]),
        std=std,
        spectrum=spectrum.clamp_min(0).float(),
        basis=basis,
        norm=norms / len(x),
        count=len(x),
        measured=measured,
    )


def _flat(x: Samples) -> Iterator[Tensor]:
    """All samples in float64, flattened, a piece at a time."""
    return (part.detach().flatten(1).double() for part in chunks(x))


@cache
def cosine_basis(size: int) -> Tensor:
    """The orthonormal DCT-II matrix, rows the frequencies, shape (size, size)."""
    k, i = torch.arange(size).double()[:, None], torch.arange(size).double()
    matrix = torch.cos(math.pi / size * (i + 0.5) * k) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def spectral(u: Tensor, basis: Tensor | None) -> Tensor:
    """The coordinates of u (B, *event) on `Stats.basis`, shape (B, N), in float64."""
    u = u.double()
    if basis is not None:
        return u.flatten(1) @ basis.to(u)
    if u.ndim == 4:
        rows, columns = (cosine_basis(n).to(u) for n in u.shape[2:])
        u = rows @ u @ columns.T
    return u.flatten(1)
