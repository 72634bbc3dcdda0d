"""A training whose weights are shared out: each process holds a part of every tensor.

Weights, gradients, moving average and the optimiser's state lie in parts (FSDP2,
`torch.distributed.fsdp.fully_shard`), and a block's weights are put together while it computes. So
a network may be larger than a GPU. The objective that was given stays whole, on the CPU, and has
the newest weights whenever a checkpoint is due: the file is that of any training.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor

from diffode.files import is_main_process
from diffode.processes import together
from diffode.training.ema import MovingAverage
from diffode.training.hardware import Hardware, whole
from diffode.training.learner import Learner, optimiser_of


class ShardedLearner(Learner):
    """A learner whose tensors are shared out over the processes of the job.

    Arguments:
        plain: the learner, whole and on the CPU.
        hardware: what it is computed on.

    Raises:
        ValueError: an objective of several phases, or one that cannot be shared out.
    """

    in_parts = True

    def __init__(self, plain: Learner, hardware: Hardware) -> None:
        if len(plain.phases) > 1:
            raise ValueError("got shard for an objective of several phases; leave shard away")
        self.plain, self.options, self.done = plain, plain.options, plain.done
        self.objective = copy.deepcopy(plain.objective).to(hardware.device).train()
        mesh = init_device_mesh(hardware.device.type, (hardware.count,))
        try:
            for block in _blocks(self.objective):
                fully_shard(block, mesh=mesh)
        except (ValueError, NotImplementedError) as error:
            raise ValueError(f"this network cannot be shared out: {error}") from None
        self.phases = self.objective.phases()
        self.optimisers = {
            phase.name: optimiser_of(phase, self.options.lr, self.options.weight_decay)
            for phase in self.phases
        }
        for name, optimiser in self.optimisers.items():
            for own, given in self._pairs():
                if stored := plain.optimisers[name].state.get(given):
                    optimiser.state[own] = {
                        slot: _parted(v.to(own.device), mesh) if v.shape == own.shape else v
                        for slot, v in stored.items()
                    }
        self._average = self._averaging(hardware.device, mesh)

    def _averaging(self, device: torch.device, mesh: DeviceMesh) -> MovingAverage | None:
        """The moving average in parts, as far as it has come."""
        before, target = self.plain.moving_average, self.objective.averaged
        if before is None or target is None:
            return None
        average = MovingAverage(before.module, before.decay)
        average.module.to(device)
        for module in average.module.modules():
            for name, p in module.named_parameters(recurse=False):
                parts = nn.Parameter(_parted(p.data, mesh), requires_grad=p.requires_grad)
                module.register_parameter(name, parts)
        average.follow_from(target, before.count)
        return average

    @property
    def average(self) -> nn.Module | None:
        """The moving average, whole, as it was when it was last gathered."""
        return self.plain.average

    def _pairs(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """The parameters in parts, each with that of the whole objective."""
        given = self.plain.objective.parameters()
        return list(zip(self.objective.parameters(), given, strict=True))

    @torch.no_grad()
    def gathered(self) -> Learner:
        """The whole learner with the newest tensors; all processes must ask for it together.

        Raises:
            Lost: another process has ended.
        """
        plain = self.plain
        with together():
            _copy(self.objective, plain.objective)
            if self._average is not None and plain.average is not None:
                _copy(self._average.module, plain.average)
            for name, optimiser in self.optimisers.items():
                for own, given in self._pairs():
                    found = {k: whole(v).cpu() for k, v in optimiser.state.get(own, {}).items()}
                    if found and is_main_process():  # which writes them
                        plain.optimisers[name].state[given] = found
        plain.objective.load_extra_state(self.objective.extra_state())
        plain.done = self.done
        return plain


def _blocks(objective: nn.Module) -> list[nn.Module]:
    """What is put together at a time: the members of lists and chains that have parts of their
    own, inner ones first, then the rest.
    """
    chains = (nn.ModuleList, nn.Sequential)
    found = [
        child
        for module in objective.modules()
        if isinstance(module, chains)
        for child in module.children()
        if not isinstance(child, nn.ModuleList) and any(True for _ in child.children())
    ]
    return [*reversed(list(dict.fromkeys(found))), objective]


def _parted(x: Tensor, mesh: DeviceMesh) -> Tensor:
    """A tensor shared out by its first axis, as FSDP2 shares out parameters."""
    return distribute_tensor(x, mesh, [Shard(0)])


def _copy(parts: nn.Module, to: nn.Module) -> None:
    own: list[Tensor] = [*parts.parameters(), *parts.buffers()]
    for part, given in zip(own, [*to.parameters(), *to.buffers()], strict=True):
        given.copy_(whole(part))
