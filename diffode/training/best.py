r"""Keep-best: the loss on held-out samples, and the checkpoint where it was least.

The held-out loss is the objective's own loss,

.. math:: L = \frac1K \sum_{k=1}^{K} l(x_{i_k}, \text{noise}_k), \qquad K = 2048,

of the averaged weights, without dropout, mirroring or moving, on K draws: 2,048 held-out samples
that keep each class's share, or all, taken in turn, if there are fewer. The noise of draw k is the
same for every checkpoint and every seed, so that two losses differ by their weights alone.

Nothing is remembered between checkpoints but what stands in their headers, so a resumed run keeps
what it would have kept without a stop.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from diffode.data.rows import some_rows
from diffode.files import replacing
from diffode.rng import Rng
from diffode.training import checkpoint, container
from diffode.training.batches import Batch, Streamed
from diffode.training.hardware import Hardware
from diffode.training.learner import Learner
from diffode.training.objective import Objective

BEST = "best.safetensors"
KEY = "held_out"  # among what the header says of the training
_DRAWS = 2048


def require_comparable(objective: Objective, given: bool, out: Path | None) -> None:
    """Refuse to keep the best checkpoint where there is no best, or no place for it.

    Arguments:
        objective: what is trained.
        given: whether there are held-out samples.
        out: the run directory, or None.

    Raises:
        ValueError: which of these it is.
    """
    if not objective.comparable or objective.coupling == "pairs":
        raise ValueError(
            f"got keep_best for {type(objective).__name__} with coupling={objective.coupling}, "
            "whose loss on held-out samples does not tell better weights from worse; leave it out"
        )
    if not given:
        raise ValueError("got keep_best without held-out samples; give held_out=(x, labels)")
    if out is None:
        raise ValueError("got keep_best without a run directory to keep it in; give out")


class HeldOut:
    """The held-out loss of what is being trained.

    Arguments:
        samples: the held-out samples.
        learner: what is trained.
        hardware: what it is computed on.
    """

    def __init__(self, samples: Batch | Streamed, learner: Learner, hardware: Hardware) -> None:
        self.samples, self.learner, self.hardware = samples, learner, hardware
        rows = some_rows(len(samples), _DRAWS, samples.y)
        self.index = rows.repeat(-(-_DRAWS // len(rows)))[: max(_DRAWS, len(rows))]

    def loss(self) -> float:
        """The loss of the averaged weights; the training is as before."""
        options, total = self.learner.options, 0.0
        pieces = options.accumulate * self.hardware.count
        with torch.no_grad(), _averaged(self.learner), self.hardware.numbers():
            size = min(options.batch, _DRAWS)
            for tick, first in enumerate(range(0, len(self.index), size)):
                index = self.index[first : first + size]
                batch, rng = self.samples.rows(index, self.hardware.device), Rng(0, step=tick)
                if self.learner.objective.coupling != "independent":
                    batch, _ = self.learner.objective.couple(batch, rng)
                for rows in torch.arange(len(index)).tensor_split(pieces):
                    if len(rows):
                        total += len(rows) * self._of(batch.rows(rows), rng.rows(rows))
        return total / len(self.index)

    def _of(self, batch: Batch, rng: Rng) -> float:
        phase = self.learner.phases[0].name
        return float(self.learner.objective(phase, batch, rng)[0])


@contextmanager
def _averaged(learner: Learner) -> Iterator[None]:
    """Within, the objective has its averaged weights and does nothing that belongs to training."""
    objective, average, target = learner.objective, learner.average, learner.objective.averaged
    weights: list[Tensor] = []
    means: list[Tensor] = []
    if average is not None and target is not None:
        weights, means = [*target.parameters()], [*average.parameters()]
    kept = [p.detach().clone() for p in weights]
    objective.eval()
    try:
        for one, other in zip(weights, means, strict=True):
            one.copy_(other)
        yield
    finally:
        for one, other in zip(weights, kept, strict=True):
            one.copy_(other)
        objective.train()


def settle(folder: Path) -> None:
    """Let the newest checkpoint of a run be its best one too, if its held-out loss is the least.

    The two are one file with two names, where the file system can do that.
    """
    newest, best = checkpoint.newest(folder), folder / "checkpoints" / BEST
    now = None if newest is None else figure(newest)
    if newest is None or now is None or now[1] >= (figure(best) or (0, math.inf))[1]:
        return
    with replacing(best) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(newest, temporary)
        except OSError:
            shutil.copyfile(newest, temporary)


def figure(path: Path) -> tuple[int, float] | None:
    """The step and the held-out loss of a checkpoint, if it states one; it is not checked."""
    try:
        header, _ = container.read(path, only=f"{KEY}/")
    except ValueError:
        return None
    value = header.get("training", {}).get(KEY)
    known = isinstance(value, float) and math.isfinite(value)
    return (header["step"], value) if known else None
