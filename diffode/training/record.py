"""What a run leaves on disk while it trains: checkpoints and metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from diffode.files import require_writable, write_text
from diffode.training import checkpoint
from diffode.training.objective import Objective


class Record:
    """The files of a run directory that `train` writes.

    Arguments:
        out: the run directory.
        first: the step that training goes on from; later lines of an old metrics file are dropped.
        save_every, keep: when checkpoints are due, and how many stay.
        log_every: steps between lines of metrics.jsonl.
        tensorboard: also write event files.
    """

    def __init__(
        self, out: Path, first: int, save_every: int, keep: int, log_every: int, tensorboard: bool
    ) -> None:
        self.out = require_writable(out)
        if not first and any((self.out / "checkpoints").glob("*.safetensors")):
            raise ValueError(f"{out} holds a run; resume it, or choose another output directory")
        self.keep, self.log_every = keep, log_every
        self.writer = _writer(self.out) if tensorboard else None
        metrics = self.out / "metrics.jsonl"
        old = metrics.read_text().split("\n")[:-1] if first and metrics.exists() else []
        kept = [line for line in old if json.loads(line)["step"] <= first]
        write_text(metrics, "".join(f"{line}\n" for line in kept))
        self.file = metrics.open("a", encoding="utf-8")

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
        self.file.write(json.dumps({"step": step, **values, "seconds": seconds}) + "\n")
        self.file.flush()
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
            checkpoint.save(objective, path, step=step, average=average, optimisers=optimisers)
        for old in sorted(folder.glob("step-*.safetensors"))[: -self.keep]:
            old.unlink()
        return path

    def close(self) -> None:
        """Close the files."""
        self.file.close()
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
