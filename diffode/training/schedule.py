"""The options that decide what a training learns, and the learning rate of each of its steps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from diffode.training.objective import Phase


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options of `diffode.train` that decide what is learned: checkpoints keep them.

    Attributes:
        seed, batch, lr, warmup, clip, ema, weight_decay, accumulate, precision, flip, crop, steps,
            since: see `diffode.train`.
    """

    seed: int
    batch: int
    lr: float
    warmup: int
    clip: float
    ema: float
    weight_decay: float
    accumulate: int
    precision: str
    steps: int
    since: int
    flip: bool = False
    crop: int = 0

    def fixed(self) -> dict[str, Any]:
        """Those that a resumed training may not change."""
        return {k: v for k, v in asdict(self).items() if k not in ("steps", "since")}

    def factor(self, phase: Phase, step: int) -> float:
        """The factor of a phase's learning rate.

        A schedule that begins anew at a step ``since`` spans the rest of the steps; its warm-up
        takes a tenth of them at most.
        """
        steps, warmup = self.steps, self.warmup
        if self.since:
            step, steps = step - self.since, steps - self.since
            warmup = min(warmup, steps // 10)
        if phase.schedule is not None:
            return phase.schedule(step, steps)
        return warm_cosine(step, steps, warmup)


def warm_cosine(step: int, steps: int, warmup: int) -> float:
    """The factor of the learning rate: linear warm-up, then half a cosine down to 0."""
    rise = min(1.0, (step + 1) / max(1, warmup))
    return rise * 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))
