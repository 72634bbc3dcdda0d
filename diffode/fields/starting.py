"""Points that a flow starts from, in the place of noise."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from diffode.doors import as_labels, as_state
from diffode.fields.tables import Tables
from diffode.rng import Rng


class StartingPoints(Tables):
    r"""A set of points that is drawn from, evenly or by class.

    The i-th draw depends on (seed, step, i, name) alone, as all draws of `diffode.Rng` do.

    Arguments:
        x: the points, shape (K, \*event), in model units.
        y: a class for each, shape (K,): a draw for a label is one of the points of that class.
            None where classes play no part.
        shares: how often each class is drawn where no label is asked for, shape (C,): its share of
            the data that the points are paired with. It is needed with ``y``.

    Raises:
        TypeError: points that are no real numbers.
        ValueError: no points or one that is not finite, shapes that do not fit, or a class with a
            share and no points.
    """

    x: Tensor
    y: Tensor | None
    shares: Tensor | None

    def __init__(self, x: Tensor, y: Tensor | None = None, shares: Tensor | None = None) -> None:
        super().__init__()
        x = as_state(x, name="starting points").detach().float()
        if x.ndim < 2 or not bool(x.isfinite().all()):
            what = "values that are not finite" if x.ndim > 1 else f"shape {tuple(x.shape)}"
            raise ValueError(f"got starting points of {what}; wanted finite ones, (K, *event)")
        y = as_labels(y, len(x))
        if (y is None) != (shares is None):
            raise ValueError("got labels or shares of starting points alone; give both or none")
        first = counts = None
        if y is not None and shares is not None:
            shares = shares.detach().double()
            good = shares.ndim == 1 and bool((shares >= 0).all()) and float(shares.sum()) > 0
            if not good or int(y.min()) < 0 or not math.isfinite(float(shares.sum())):
                raise ValueError("got shares that are no probabilities, or a label below 0")
            order = y.argsort(stable=True)
            x, y = x[order], y[order]
            counts = y.bincount(minlength=len(shares))[: len(shares)]
            lacking = ((counts == 0) & (shares > 0)).nonzero()
            if len(lacking):
                raise ValueError(
                    f"label {int(lacking[0])} of the data has no starting points; give some of it "
                    "(--prior-data), or train without labels"
                )
            first, shares = counts.cumsum(0) - counts, shares / shares.sum()
        self.register_buffer("x", x, persistent=False)
        self.register_buffer("y", y, persistent=False)
        self.register_buffer("shares", shares, persistent=False)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("counts", counts, persistent=False)

    first: Tensor | None
    counts: Tensor | None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def moments(self) -> tuple[Tensor, float]:
        r"""The mean of the points, shape (\*event), and their rms standard deviation about it."""
        mean = self.x.mean(0)
        return mean, float((self.x - mean).square().mean().sqrt())

    def draw(self, n: int, rng: Rng, y: Tensor | None = None, name: str = "prior") -> Tensor:
        r"""Draw n points, each of the class of its label if there are classes, (n, \*event)."""
        u = rng.uniform(name, (n,), device=self.x.device)
        if self.shares is None or self.first is None or self.counts is None:
            return self.x[(u * len(self.x)).long()]
        if y is None:
            v = rng.uniform(f"{name}/class", (n,), device=self.x.device)
            y = torch.searchsorted(self.shares.cumsum(0), v).clamp_max(len(self.shares) - 1)
        return self.x[self.first[y] + (u * self.counts[y]).long()]

    def tensors(self) -> dict[str, Tensor]:
        """What makes it again, as named tensors."""
        named = {"x": self.x, "y": self.y, "shares": self.shares}
        return {k: v for k, v in named.items() if v is not None}

    @classmethod
    def from_tensors(cls, named: dict[str, Tensor]) -> Self:
        """The points that `tensors` named.

        Raises:
            ValueError: what is no set of points.
        """
        if "x" not in named:
            raise ValueError("there is no tensor of the points, x")
        return cls(named["x"], named.get("y"), named.get("shares"))
