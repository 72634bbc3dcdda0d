"""Transforms of the images of a batch, drawn anew for every sample of every step.

What happens to a sample is a function of (seed, step, row), as its noise is, so that it is the
same on every device, with any number of workers and processes, and after a resumption.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from diffode.fields.learned import Learned
from diffode.rng import Rng
from diffode.training.batches import Batch, Streamed
from diffode.training.objective import Objective


@dataclass(frozen=True)
class Transform:
    """What is done to the images of a batch.

    Attributes:
        flip: whether each is mirrored, left for right, with probability 1/2.
        crop: the most pixels that each is moved by, up or down and left or right; what comes in
            at an edge repeats the pixels of the edge.
    """

    flip: bool = False
    crop: int = 0

    def require(self, objective: Objective, samples: Batch | Streamed) -> None:
        """Refuse samples that cannot be transformed, or an objective that waits for flips.

        Raises:
            ValueError: no images, images smaller than the crop, tensors beside them, or a network
                that is told of flips where there are none.
        """
        told = any(isinstance(m, Learned) and m.flip_label for m in objective.modules())
        if told and not self.flip:
            raise ValueError("got flip_label=True without flips; train with flip=True too")
        if not self.flip and not self.crop:
            return
        event, name = tuple(samples.x.shape[1:]), "flip" if self.flip else "crop"
        if len(event) != 3:
            raise ValueError(f"got {name} for events of shape {event}; it is for images (C, H, W)")
        if self.crop >= min(event[1:]):
            size = f"{event[1]}x{event[2]}"
            raise ValueError(f"got crop={self.crop} for images of {size}; take a smaller one")
        beside = {f.name for f in fields(samples)} - {f.name for f in fields(Batch)}
        if beside:
            raise ValueError(
                f"got {name} for samples with {', '.join(sorted(beside))} beside them, which "
                "would not be transformed with them; transform them beforehand"
            )

    def __call__(self, batch: Batch, rng: Rng) -> Batch:
        """The batch with its images transformed; row i of a draw belongs to row i."""
        if not self.flip and not self.crop:
            return batch
        x, flipped = batch.x, None
        if self.crop:
            x = _moved(x, self._shifts(rng, len(x), x.device))
        if self.flip:
            flipped = rng.uniform("flip", (len(x),), device=x.device) < 0.5
            x = torch.where(flipped.view(-1, 1, 1, 1), x.flip(-1), x)
        return replace(batch, x=x, flipped=flipped)

    def _shifts(self, rng: Rng, n: int, device: torch.device) -> Tensor:
        """How many pixels down and right, shape (n, 2), uniform on -crop ... crop."""
        u = rng.uniform("crop", (n, 2), device=device)
        return (u * (2 * self.crop + 1)).long() - self.crop


def _moved(x: Tensor, shifts: Tensor) -> Tensor:
    """Images x (B, C, H, W) moved down and right by shifts (B, 2), their edges repeated."""
    down, right = shifts.T[:, :, None]
    height, width = (torch.arange(n, device=x.device) for n in x.shape[2:])
    rows = (height - down).clamp(0, len(height) - 1)[:, None, :, None]
    columns = (width - right).clamp(0, len(width) - 1)[:, None, None, :]
    return x.gather(2, rows.expand_as(x)).gather(3, columns.expand_as(x))
