"""Which samples a step sees: a function of (seed, step), so that a resumed run is the same run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor

from diffode.data.source import Source, require_finite
from diffode.rng import Rng


@dataclass(frozen=True)
class Batch:
    """Samples, and what belongs to each of them.

    A subclass may hold more tensors of B rows, such as the noise that a sample is paired with:
    they are selected and placed together with the samples.

    Attributes:
        x: samples, shape (B, *event).
        y: their labels, shape (B,), or None.
        flipped: which of them training has mirrored, shape (B,), bool; None if none.
    """

    x: Tensor
    y: Tensor | None = None
    flipped: Tensor | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor | slice, device: torch.device | None = None) -> Self:
        """Some of the rows, on this device or where they are."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(
            self, **{k: v[index].to(device or v.device) for k, v in held.items() if v is not None}
        )


@dataclass(frozen=True)
class Streamed:
    r"""Samples that are read when a step needs them.

    Attributes:
        x: where they are read, (M, \*event).
        y: their labels, shape (M,), or None.
    """

    x: Source
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor | slice, device: torch.device | None = None) -> Batch:
        """Some of the rows, on this device or the CPU.

        Raises:
            ValueError: a value that is not finite.
        """
        x = require_finite(self.x[index])
        y = None if self.y is None else self.y[index].to(device or "cpu")
        return Batch(x.to(device or "cpu"), y)


class Batches:
    """Batches drawn without replacement, epoch by epoch, addressed by step.

    The samples stand in a row of permutations, one for each epoch, keyed on (seed, epoch); the
    batch of a step is the piece at position ``step * size``.

    Arguments:
        samples: all M of them.
        size: rows of the global batch.
        seed: of the permutations, and of what is done to samples.
        transform: what is done to the samples of a batch; row i of the generator is for row i.

    Attributes:
        logs: numbers on the batch of the last step that was asked for.
    """

    def __init__(
        self,
        samples: Batch | Streamed,
        size: int,
        seed: int,
        transform: Callable[[Batch, Rng], Batch] | None = None,
    ) -> None:
        self.samples, self.size, self.seed, self.transform = samples, size, seed, transform
        self.count = len(samples)
        self.logs: dict[str, float] = {}
        self._orders: dict[int, Tensor] = {}

    def at(self, step: int, rows: Tensor, device: torch.device | None = None) -> Batch:
        """The samples of these rows of the step's global batch, on a device."""
        batch = self.read(step, rows, device)
        if self.transform is None:
            return batch
        return self.transform(batch, Rng(self.seed, step=step, rows=rows))

    def read(self, step: int, rows: Tensor, device: torch.device | None = None) -> Batch:
        """The same samples, before anything is done to them."""
        return self.samples.rows(self._index(step, rows), device)

    def close(self) -> None:
        """End what reads ahead: nothing here, see `diffode.training.workers`."""
        return None

    def _index(self, step: int, rows: Tensor) -> Tensor:
        """The places in the samples of these rows of the step's global batch."""
        position = step * self.size + rows
        epoch, place = position // self.count, position % self.count
        first, last = (int(v) for v in epoch.aminmax()) if len(rows) else (0, 0)
        if first == last:
            return self._order(first)[place]
        index = torch.empty_like(position)
        for e in range(first, last + 1):
            here = epoch == e
            index[here] = self._order(e)[place[here]]
        return index

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            if len(self._orders) > 1:
                self._orders.pop(min(self._orders))
            order = Rng(self.seed).at(epoch).permutation("epoch", self.count)
            self._orders[epoch] = order
        return self._orders[epoch]
