"""Which samples a step sees: a function of (seed, step), so that a resumed run is the same run."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.rng import Rng


class Batches:
    """Batches drawn without replacement, epoch by epoch, addressed by step.

    The samples stand in a row of permutations, one for each epoch, keyed on (seed, epoch); the
    batch of a step is the piece at position ``step * batch``.

    Arguments:
        x: samples, shape (M, *event).
        y: labels, shape (M,), or None.
        batch: rows of the global batch.
        seed: of the permutations.
    """

    def __init__(self, x: Tensor, y: Tensor | None, batch: int, seed: int) -> None:
        self.x, self.y, self.batch, self.seed = x, y, batch, seed
        self._orders: dict[int, Tensor] = {}

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            if len(self._orders) > 1:
                self._orders.pop(min(self._orders))
            self._orders[epoch] = Rng(self.seed).at(epoch).permutation("epoch", len(self.x))
        return self._orders[epoch]

    def at(self, step: int, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Samples and labels of these rows of the step's global batch."""
        position = step * self.batch + rows
        epoch, place = position // len(self.x), position % len(self.x)
        index = torch.empty_like(position)
        for e in sorted(set(epoch.tolist())):
            here = epoch == e
            index[here] = self._order(e)[place[here]]
        return self.x[index], None if self.y is None else self.y[index]
