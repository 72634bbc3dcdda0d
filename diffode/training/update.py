"""The updates of a training step: each phase's gradient over the global batch, clipped, and moved.

A global batch is split into pieces, ``accumulate`` of them for each process, whose numbers of rows
differ by one at most; their gradients, weighed by the rows, add up to that of the whole.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from diffode.nn.dropout import dropouts, dropping
from diffode.processes import mean
from diffode.rng import Rng
from diffode.training.batches import Batches
from diffode.training.coupling import Whole
from diffode.training.hardware import Hardware, whole
from diffode.training.learner import Learner
from diffode.training.objective import Phase
from diffode.training.workers import ahead

_MOST_SKIPPED = 20  # fp16 updates in a row whose gradient overflowed


class NotFinite(Exception):
    """A loss or a gradient that is not finite: the update was not made.

    Attributes:
        what: "loss" or "gradient".
        phase: the name of the phase.
    """

    def __init__(self, what: str, phase: str) -> None:
        super().__init__(what, phase)
        self.what, self.phase = what, phase


class Outcome(NamedTuple):
    """What an update found.

    Attributes:
        loss: over the global batch.
        norm: of the gradient, before clipping.
        logs: what the objective notes beside its loss.
    """

    loss: float
    norm: float
    logs: dict[str, float]


class Updates:
    """All updates of a step: those of each phase in turn, each as often as the phase repeats.

    Update k of step n sees batch and noise number n K + k, K being the updates of a step.

    Arguments:
        learner: what is updated.
        batches: what it learns from.
        hardware: what it is computed on.
        workers: processes that read the batches of coming steps.

    Attributes:
        moved: whether an update of the step at hand has been made.
    """

    def __init__(
        self,
        learner: Learner,
        batches: Batches,
        hardware: Hardware,
        workers: int = 0,
    ) -> None:
        self.learner, self.hardware = learner, hardware
        self.turns = [phase for phase in learner.phases for _ in range(phase.repeat)]
        self.rng = Rng(learner.options.seed)
        self.model = hardware.spread(learner.objective)
        self.params = list(learner.objective.parameters())
        self.dropouts = dropouts(learner.objective)
        self.moving = {
            name: [p for group in optimiser.param_groups for p in group["params"]]
            for name, optimiser in learner.optimisers.items()
        }
        accumulate = learner.options.accumulate
        pieces = torch.arange(batches.size).tensor_split(hardware.count * accumulate)
        first = hardware.rank * accumulate
        self.pieces = pieces[first : first + accumulate]
        first, last = (n * len(self.turns) for n in (learner.done, learner.options.steps))
        alone = learner.objective.coupling in ("independent", "pairs")
        asked = self.pieces if alone else (torch.arange(batches.size),)
        self.batches = ahead(batches, asked, range(first, last), workers)
        if not alone:
            self.batches = Whole(self.batches, learner.objective.couple)
        self.moved, self._skipped = False, 0

    def __call__(self, step: int) -> dict[str, Outcome]:
        """Make the updates of a step; the last outcome of each phase, by its name.

        Raises:
            NotFinite: a loss or a gradient that is not finite.
        """
        self.moved = False
        first = step * len(self.turns)
        return {
            phase.name: self._update(phase, tick) for tick, phase in enumerate(self.turns, first)
        }

    def _update(self, phase: Phase, tick: int) -> Outcome:
        """One optimiser step of a phase."""
        total, logs = self._backward(phase, tick)
        norm, loss = float(self._clip(phase)), float(mean(total))
        if not math.isfinite(loss):
            raise NotFinite("loss", phase.name)
        if not math.isfinite(norm) and self.learner.options.precision != "fp16":
            raise NotFinite("gradient", phase.name)
        self._count_skipped(phase, self.hardware.step(self.learner.optimisers[phase.name]))
        for parameter in self.params:  # of all phases: a loss may reach another's weights
            parameter.grad = None
        own = {name: float(value) for name, value in logs.items()}
        return Outcome(loss, norm, self.batches.logs | own)

    def _backward(self, phase: Phase, tick: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up the gradients of this process's pieces: their mean loss, and the last logs."""
        hardware, rng = self.hardware, self.rng.at(tick)
        total = torch.zeros((), device=hardware.device)
        for k, rows in enumerate(self.pieces, 1):
            batch = self.batches.at(tick, rows, hardware.device)
            mine, alone = rng.rows(rows), k < len(self.pieces)
            parts = self.batches.size / (hardware.count * len(rows))  # of the processes' mean
            with hardware.alone(self.model) if alone else nullcontext():
                kept = dropping(self.dropouts, mine, len(rows), hardware.device)
                with kept, hardware.numbers():
                    loss, logs = self.model(phase.name, batch, mine)
                loss = loss.float() if loss.element_size() < 4 else loss
                hardware.differentiate(loss / parts)
            total += loss.detach() / parts
        return total, logs

    def _clip(self, phase: Phase) -> Tensor:
        """Clip the gradient; its norm before."""
        self.hardware.unscale(self.learner.optimisers[phase.name])
        return whole(clip_grad_norm_(self.moving[phase.name], self.learner.options.clip))

    def _count_skipped(self, phase: Phase, moved: bool) -> None:
        """Count the updates in a row that the scaler of fp16 left out.

        Raises:
            NotFinite: there were too many.
        """
        self.moved |= moved
        self._skipped = 0 if moved else self._skipped + 1
        if self._skipped == _MOST_SKIPPED:
            raise NotFinite("gradient", phase.name)

    def close(self) -> None:
        """Stop reading ahead, and let the spread module go."""
        self.batches.close()
        del self.model, self.params, self.moving
        self.hardware.release()
