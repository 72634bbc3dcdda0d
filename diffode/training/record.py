"""What a run leaves on disk while it trains: checkpoints and metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from diffode.files import append_text, is_main_process, require_writable, write_text
from diffode.training import best, checkpoint
from diffode.training.learner import Learner
from diffode.training.lock import locked
from diffode.training.objective import Objective

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class TrainState:
    """What a step did.

    Attributes:
        step: how many steps are done, 1 after the first.
        steps: how many there will be.
        losses: the loss of each phase, over the global batch.
        grad_norm: the gradient's norm before clipping, of each phase.
        lr: the learning rate of each phase.
        logs: what the objective notes beside its losses.
        seconds: since this call of `train` began.
        objective: what is trained.
        averaged: the moving average of what is sampled, or the thing itself.
        checkpoint: the file written after this step, if one was.
        held_out: the loss on held-out samples, if it was measured.
    """

    step: int
    steps: int
    losses: dict[str, float]
    grad_norm: dict[str, float]
    lr: dict[str, float]
    logs: dict[str, float]
    seconds: float
    objective: Objective
    averaged: nn.Module | None
    checkpoint: Path | None
    held_out: float | None = None


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics, without those that are damaged or cut off."""
    path, lines = folder / METRICS, []
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                try:
                    line = json.loads(text) if text.endswith("\n") else None
                except (ValueError, RecursionError):
                    continue
                if isinstance(line, dict) and type(line.get("step")) is int:
                    lines.append(line)
    return lines


def thin(folder: Path, keep: int) -> None:
    """Drop all but the newest checkpoints of a run directory."""
    for old in sorted((folder / "checkpoints").glob(checkpoint.NAMES))[:-keep]:
        old.unlink()


class Record:
    """The files of a run directory that `train` writes, in the process that writes.

    Arguments:
        out: the run directory; None writes nothing.
        first: the step that training goes on from; later lines of an old metrics file are dropped.
        keep: how many checkpoints stay.
        log_every: steps between lines of metrics.jsonl.
        tensorboard: also write event files.
        training: what the training depends on, for the checkpoints.

    Raises:
        ValueError: a folder that cannot be written, that holds a run which is not resumed, or that
            another process holds.
    """

    def __init__(
        self,
        out: Path | None,
        first: int,
        keep: int,
        log_every: int,
        tensorboard: bool,
        training: Mapping[str, Any],
    ) -> None:
        self.out = require_writable(out) if out is not None and is_main_process() else None
        self.keep, self.log_every, self.training = keep, log_every, training
        self._held = ExitStack()
        self.writer: Any = None  # an optional library's
        if self.out is not None:
            with ExitStack() as stack:
                self._begin(stack, self.out, first, tensorboard)
                self._held = stack.pop_all()

    def _begin(self, stack: ExitStack, out: Path, first: int, tensorboard: bool) -> None:
        """Take hold of the directory, and keep the metrics up to the first step."""
        stack.enter_context(locked(out))
        if not first and any((out / "checkpoints").glob("*.safetensors")):
            raise ValueError(f"{out} holds a run; resume it, or choose another output directory")
        if tensorboard:
            self.writer = _writer(out)
            stack.callback(self.writer.close)
        kept = [line for line in logged(out) if line["step"] <= first] if first else []
        write_text(out / METRICS, "".join(json.dumps(line) + "\n" for line in kept))

    def log(self, state: TrainState) -> None:
        """Write a line of metrics, if one is due."""
        due = state.held_out is not None or state.step % self.log_every == 0
        if self.out is None or not (due or state.step == state.steps):
            return
        values = {
            "loss": state.losses,
            "grad_norm": state.grad_norm,
            "lr": state.lr,
            "logs": state.logs,
        }
        held = {} if state.held_out is None else {"held_out": state.held_out}
        line = {"step": state.step, **values, **held, "seconds": state.seconds}
        append_text(self.out / METRICS, json.dumps(line) + "\n")
        if self.writer is not None:
            if held:
                values["held_out"] = {"loss": held["held_out"]}
            for kind, phases in values.items():
                for phase, value in phases.items():
                    self.writer.add_scalar(f"{kind}/{phase}", value, state.step)

    def save(self, learner: Learner, held_out: float | None = None) -> Path | None:
        """Write a checkpoint, unless that of this step is there, and drop the oldest ones.

        Arguments:
            learner: what is written.
            held_out: its loss on held-out samples, if that was measured; not on a step that a stop
                chose, so that a stop does not change which checkpoint is the best.
        """
        learner = learner.gathered()
        if self.out is None or learner.objective.spec is None:
            return None
        folder = self.out / "checkpoints"
        path = folder / f"step-{learner.done:08d}.safetensors"
        if not path.exists():
            checkpoint.save(
                learner.objective,
                path,
                step=learner.done,
                average=learner.average,
                optimisers=learner.optimisers,
                training={**self.training, **({} if held_out is None else {best.KEY: held_out})},
            )
        best.settle(self.out)
        thin(self.out, self.keep)
        return path

    def newest(self) -> Path | None:
        """The newest checkpoint, if there is one."""
        return None if self.out is None else checkpoint.newest(self.out)

    def close(self) -> None:
        """Close the files and let the folder go; once is enough."""
        self._held.close()


def _writer(out: Path) -> Any:  # noqa: ANN401  # an optional library
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "tensorboard is not installed; pip install 'diffode[tensorboard]'"
        ) from None
    return SummaryWriter(str(out / "tensorboard"))
