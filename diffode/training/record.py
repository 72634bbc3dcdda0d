"""What a run leaves on disk while it trains: checkpoints and metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from diffode.files import require_writable, write_text
from diffode.training import checkpoint
from diffode.training.lock import locked
from diffode.training.objective import Objective

METRICS = "metrics.jsonl"


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


class Record:
    """The files of a run directory that `train` writes.

    Arguments:
        out: the run directory.
        first: the step that training goes on from; later lines of an old metrics file are dropped.
        save_every, keep: when checkpoints are due, and how many stay.
        log_every: steps between lines of metrics.jsonl.
        tensorboard: also write event files.
        training: what the training depends on, for the checkpoints.

    Raises:
        ValueError: a folder that cannot be written, that holds a run which is not resumed, or that
            another process holds.
    """

    def __init__(
        self,
        out: Path,
        first: int,
        save_every: int,
        keep: int,
        log_every: int,
        tensorboard: bool,
        training: Mapping[str, Any],
    ) -> None:
        self.out, self.training = require_writable(out), training
        self.keep, self.log_every = keep, log_every
        with ExitStack() as stack:
            stack.enter_context(locked(self.out))
            if not first and any((self.out / "checkpoints").glob("*.safetensors")):
                raise ValueError(
                    f"{out} holds a run; resume it, or choose another output directory"
                )
            self.writer = _writer(self.out) if tensorboard else None
            self.metrics = self.out / METRICS
            kept = [line for line in logged(self.out) if line["step"] <= first] if first else []
            write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))
            self.open = stack.pop_all()

    def log(
        self,
        step: int,
        steps: int,
        losses: Mapping[str, float],
        norms: Mapping[str, float],
        rates: Mapping[str, float],
        logs: Mapping[str, float],
        seconds: float,
    ) -> None:
        """Write a line of metrics, if one is due."""
        if step % self.log_every and step != steps:
            return
        values = {"loss": losses, "grad_norm": norms, "lr": rates, "logs": logs}
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values, "seconds": seconds}) + "\n")
        if self.writer is not None:
            for kind, phases in values.items():
                for phase, value in phases.items():
                    self.writer.add_scalar(f"{kind}/{phase}", value, step)

    def save(
        self,
        objective: Objective,
        step: int,
        average: nn.Module | None,
        optimisers: Mapping[str, Optimizer],
    ) -> Path | None:
        """Write the checkpoint of a step and drop the oldest ones."""
        if objective.spec is None:
            return None
        folder = self.out / "checkpoints"
        path = folder / f"step-{step:08d}.safetensors"
        if not path.exists():
            checkpoint.save(
                objective,
                path,
                step=step,
                average=average,
                optimisers=optimisers,
                training=self.training,
            )
        for old in sorted(folder.glob("step-*.safetensors"))[: -self.keep]:
            old.unlink()
        return path

    def close(self) -> None:
        """Close the files and let the folder go."""
        self.open.close()
        if self.writer is not None:
            self.writer.close()


def _writer(out: Path) -> Any:  # noqa: ANN401  # an optional library
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "tensorboard is not installed; pip install 'diffode[tensorboard]'"
        ) from None
    return SummaryWriter(str(out / "tensorboard"))
