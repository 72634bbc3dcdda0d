"""What learns, and where it begins: an objective with its optimisers and its moving average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from diffode.data.fingerprint import Split
from diffode.training import checkpoint
from diffode.training.ema import MovingAverage
from diffode.training.objective import Objective, Phase
from diffode.training.schedule import TrainingOptions
from diffode.training.state import fill, load_average, load_optimiser, require_exact


@dataclass(frozen=True)
class Start:
    """Where a training begins: at a checkpoint, or without one at its first step.

    Attributes:
        header, tensors: of the checkpoint; empty where there is none.
    """

    header: dict[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def at(cls, resume: Path | None) -> Self:
        """The start at a checkpoint, at the newest one of a run directory, or for None at 0.

        Raises:
            ValueError: nothing there, or a checkpoint that is damaged.
        """
        return cls() if resume is None else cls(*checkpoint.opened(resume))

    @property
    def step(self) -> int:
        """How many steps there have been."""
        return int(self.header.get("step", 0))

    def since(self, steps: int) -> int:
        """Where the learning rate's schedule begins: anew, if the number of steps has changed."""
        stored = self.header.get("training", {})
        return int(stored.get("since", 0)) if stored.get("steps", steps) == steps else self.step

    def require(self, objective: Objective, options: TrainingOptions, split: Split | None) -> None:
        """Refuse to go on from here with another objective, other options or other data.

        Raises:
            ValueError: the first difference, or no steps that are left.
        """
        if self.step >= options.steps:
            raise ValueError(
                f"the run has had {self.step} of {options.steps} steps; ask for more steps to go "
                "on"
            )
        if self.header:
            checkpoint.require_same(self.header, self.tensors, objective)
            checkpoint.require_training(self.header, options.fixed(), split)


class Learner:
    """An objective in training, with what a checkpoint keeps of it.

    Arguments:
        objective: what is trained; it is moved to the device.
        phases: its phases.
        options: of the training.
        device: where it is trained.
        start: where it begins.

    Attributes:
        done: how many steps it has had.
        optimisers: by the name of their phase.
        in_parts: whether its tensors are shared out over processes.

    Raises:
        ValueError: a checkpoint that does not have exactly the tensors of this training.
    """

    in_parts = False

    def __init__(
        self,
        objective: Objective,
        phases: Sequence[Phase],
        options: TrainingOptions,
        device: torch.device,
        start: Start,
    ) -> None:
        self.objective, self.phases, self.options = objective, phases, options
        self.done = start.step
        objective.to(device).train()
        objective.begin(options.steps)
        if start.header:
            fill(objective, start.tensors)
        target = objective.averaged
        self._average = None if target is None else MovingAverage(target, options.ema)
        self.optimisers = {
            phase.name: optimiser_of(phase, options.lr, options.weight_decay) for phase in phases
        }
        if start.header:
            self._restore(start)

    def _restore(self, start: Start) -> None:
        """Take the average and the optimisers' state from a checkpoint."""
        require_exact(start.header, start.tensors, self.objective, self.average, self.optimisers)
        if self._average is not None:
            load_average(self._average.module, start.tensors)
            self._average.count = start.step
        for name, optimiser in self.optimisers.items():
            load_optimiser(self.objective, optimiser, start.tensors, name)

    @property
    def average(self) -> nn.Module | None:
        """The moving average of ``objective.averaged``, if there is something to average."""
        return None if self._average is None else self._average.module

    @property
    def moving_average(self) -> MovingAverage | None:
        """What moves the average."""
        return self._average

    def gathered(self) -> Learner:
        """The learner with whole tensors: itself, see `diffode.training.sharded`."""
        return self

    def set_rates(self) -> dict[str, float]:
        """Set the learning rates of the next step, and say that of each phase."""
        rates = {}
        for phase in self.phases:
            factor = self.options.factor(phase, self.done)
            for group in self.optimisers[phase.name].param_groups:
                peak = group.setdefault("initial_lr", group["lr"])  # torch's own name for it
                group["lr"] = rates[phase.name] = peak * factor
        return rates

    def update_average(self) -> None:
        """Let the average follow the weights by a step."""
        if self._average is not None:
            self._average.follow()


def optimiser_of(phase: Phase, lr: float, weight_decay: float) -> Optimizer:
    """The optimiser of a phase: its own, or AdamW."""
    params = list(phase.params)
    if phase.optimiser is not None:
        return phase.optimiser(params)
    return AdamW(params, lr=lr, betas=phase.betas, weight_decay=weight_decay, fused=True)
