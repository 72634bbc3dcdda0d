"""What a training computes on: a device, a number format, and the processes that share a batch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from diffode import processes
from diffode.devices import choose

Precision = Literal["no", "bf16", "fp16"]
_FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Hardware:
    """A device, a number format, and the processes of the job.

    Arguments:
        device, precision: as for `diffode.train`.
        unused: whether a step may leave parameters without a gradient.

    Attributes:
        device: of this process.
        rank, count: which process this is, of how many.
        scales: whether gradients are scaled, which are those of fp16.

    Raises:
        ValueError: a precision that the device does not have, or processes that do not meet.
    """

    def __init__(self, device: str, precision: Precision, unused: bool = False) -> None:
        self.device, self.precision, self.unused = choose(device), precision, unused
        cuda = self.device.type == "cuda"
        if precision == "fp16" and not cuda:
            raise ValueError("fp16 needs a GPU; use precision no or bf16")
        processes.join(cuda)
        self.rank, self.count = processes.place()
        self.scales = precision == "fp16"
        self._scaler = torch.amp.GradScaler(self.device.type) if self.scales else None

    def spread(self, model: nn.Module) -> nn.Module:
        """The module as all processes train it: backward averages the gradient over them."""
        if self.count == 1 or _in_parts(model):
            return model
        with processes.together():
            return DistributedDataParallel(model, find_unused_parameters=self.unused)

    def alone(self, model: nn.Module) -> AbstractContextManager[None]:
        """Within, backward leaves the gradient to this process."""
        if _in_parts(model):
            return _unsynced(model)
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()

    def numbers(self) -> AbstractContextManager[object]:
        """Within, the network computes in the number format."""
        if self.precision == "no":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_FORMATS[self.precision])

    def differentiate(self, loss: Tensor) -> None:
        """Add the gradient of a loss to what is there; that of fp16 is scaled."""
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        with processes.together():
            scaled.backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimiser: Optimizer) -> None:
        """Give gradients their own size again."""
        if self._scaler is not None:
            self._scaler.unscale_(optimiser)

    def step(self, optimiser: Optimizer) -> bool:
        """Move the weights; False where a gradient of fp16 overflowed, so that they stayed."""
        if self._scaler is None:
            optimiser.step()
            return True
        before = self._scaler.get_scale()
        self._scaler.step(optimiser)
        self._scaler.update()
        return self._scaler.get_scale() >= before

    def release(self) -> None:
        """Let what is no longer named go now: a wrapper that stays would keep its processes."""
        if self.count > 1:
            gc.collect()


def _in_parts(model: nn.Module) -> bool:
    """Whether FSDP2 shares the module out; its class takes half a second to import."""
    return hasattr(model, "set_requires_gradient_sync")


@contextmanager
def _unsynced(model: Any) -> Iterator[None]:  # noqa: ANN401  # an FSDPModule
    """Within, backward adds gradients up in this process."""
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def own_part(x: Tensor) -> Tensor:
    """What this process holds of a tensor, in the same memory."""
    if not hasattr(x, "to_local"):
        return x
    part: Tensor = getattr(x.detach(), "to_local")()  # noqa: B009  # a DTensor's
    return part


def whole(x: Tensor) -> Tensor:
    """A tensor that may lie in parts, put together in each process."""
    full: Tensor = x.full_tensor() if hasattr(x, "full_tensor") else x
    return full
