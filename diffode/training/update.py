"""The updates of a training step: each phase's gradient over the global batch, clipped, and moved.

A global batch is split into equal pieces, ``accumulate`` of them for each process; their gradients
add up to that of the whole.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from diffode.nn.dropout import dropping
from diffode.rng import Rng
from diffode.training.batches import Batches
from diffode.training.coupling import Whole
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
        accelerator: places modules and adds up over processes.
        workers: processes that read the batches of coming steps.

    Attributes:
        moved: whether an update of the step at hand has been made.
    """

    def __init__(
        self,
        learner: Learner,
        batches: Batches,
        accelerator: Any,  # noqa: ANN401
        workers: int = 0,
    ) -> None:
        self.learner, self.accelerator = learner, accelerator
        self.turns = [phase for phase in learner.phases for _ in range(phase.repeat)]
        self.rng = Rng(learner.options.seed)
        self.model = accelerator.prepare(learner.objective)
        self.optimisers = learner.optimisers
        if accelerator.scaler is not None:  # of fp16, which may leave a step out
            self.optimisers = {k: accelerator.prepare(o) for k, o in self.optimisers.items()}
        self.params = list(learner.objective.parameters())
        self.moving = {
            name: [p for group in optimiser.param_groups for p in group["params"]]
            for name, optimiser in learner.optimisers.items()
        }
        accumulate = learner.options.accumulate
        pieces = torch.arange(batches.size).chunk(accelerator.num_processes * accumulate)
        first = accelerator.process_index * accumulate
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
        norm, loss = float(self._clip(phase)), float(self.accelerator.reduce(total, "mean"))
        if not math.isfinite(loss):
            raise NotFinite("loss", phase.name)
        if not math.isfinite(norm) and self.learner.options.precision != "fp16":
            raise NotFinite("gradient", phase.name)
        self.optimisers[phase.name].step()
        self._count_skipped(phase)
        for parameter in self.params:  # of all phases: a loss may reach another's weights
            parameter.grad = None
        own = {name: float(value) for name, value in logs.items()}
        return Outcome(loss, norm, self.batches.logs | own)

    def _backward(self, phase: Phase, tick: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up the gradients of this process's pieces: their mean loss, and the last logs."""
        device, rng = self.accelerator.device, self.rng.at(tick)
        total = torch.zeros((), device=device)
        for k, rows in enumerate(self.pieces, 1):
            batch = self.batches.at(tick, rows, device)
            mine, alone = rng.rows(rows), k < len(self.pieces)
            with self.accelerator.no_sync(self.model) if alone else nullcontext():
                with dropping(self.learner.objective, mine, len(rows), device):
                    loss, logs = self.model(phase.name, batch, mine)
                self._differentiate(loss / len(self.pieces))
            total += loss.detach() / len(self.pieces)
        return total, logs

    def _differentiate(self, loss: Tensor) -> None:
        """Add the gradient of a loss to what is there; that of fp16 is scaled."""
        if self.accelerator.scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.accelerator.backward(loss)

    def _clip(self, phase: Phase) -> Tensor:
        """Clip the gradient; its norm before."""
        if self.accelerator.scaler is not None:
            self.accelerator.unscale_gradients(self.optimisers[phase.name])
        return clip_grad_norm_(self.moving[phase.name], self.learner.options.clip)

    def _count_skipped(self, phase: Phase) -> None:
        """Count the updates in a row that the scaler of fp16 left out.

        Raises:
            NotFinite: there were too many.
        """
        skipped = getattr(self.optimisers[phase.name], "step_was_skipped", False)
        self.moved |= not skipped
        self._skipped = self._skipped + 1 if skipped else 0
        if self._skipped == _MOST_SKIPPED:
            raise NotFinite("gradient", phase.name)

    def close(self) -> None:
        """Stop reading ahead, let the wrapped model go, give the objective its forward back."""
        self.batches.close()
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        vars(self.learner.objective).pop("_is_accelerate_prepared", None)  # else never anew
        del self.model, self.optimisers, self.params, self.moving
        self.accelerator.free_memory()  # a wrapper that stays would keep the group of processes
