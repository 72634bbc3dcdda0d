"""What a checkpoint holds of a training: the names of its tensors, and putting them back."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Set
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diffode.compiled import plain_name, plain_names
from diffode.training.objective import Objective


def fill(objective: Objective, tensors: Mapping[str, Tensor]) -> None:
    """Copy a checkpoint's raw weights and further state into an objective.

    Raises:
        ValueError: tensors that do not fit it.
    """
    _copy(state(objective), part(tensors, "model"), "this objective")
    try:
        objective.load_extra_state(part(tensors, "extra"))
    except KeyError as name:
        raise ValueError(f"the checkpoint has no tensor extra/{name.args[0]}") from None


def load_average(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy the moving average of a checkpoint, if it has one, into the model's parameters."""
    average = part(tensors, "ema")
    if average:
        _copy(state(model), average, "the averaged field")


def load_optimiser(
    objective: Objective, optimiser: Optimizer, tensors: Mapping[str, Tensor], phase: str
) -> None:
    """Put the stored slots of a phase back into its optimiser."""
    stored = part(tensors, f"opt/{phase}")
    for name, parameter in objective.named_parameters():
        own = part(stored, plain_name(name))
        if own:
            optimiser.state[parameter] = {
                slot: value if slot == "step" else value.to(parameter)
                for slot, value in own.items()
            }


def require_exact(
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    objective: Objective,
    average: nn.Module | None,
    optimisers: Mapping[str, Optimizer],
) -> None:
    """Refuse to go on from a file that lacks a tensor of the training, or has another.

    Arguments:
        header, tensors: of the checkpoint.
        objective, average, optimisers: what was filled from it, and what will be.

    Raises:
        ValueError: the names that are too few or too many.
    """
    wanted = set(named("model", state(objective)) | named("extra", objective.extra_state()))
    if objective.stats is not None:
        wanted |= named("stats", objective.stats.tensors()).keys()
    if objective.field.scaling is not None:
        wanted |= named("scaling", objective.field.scaling.tensors()).keys()
    if objective.starting is not None:
        wanted |= named("prior", objective.starting.tensors()).keys()
    if average is not None:
        wanted |= named("ema", state(average)).keys()
    for phase, optimiser in optimisers.items():
        owned = _owned(objective, optimiser)
        stored = part(tensors, f"opt/{phase}")
        updated = [name for name in owned if part(stored, name)]
        if "idle" in header or not updated:  # format 1 does not say which had no gradient
            still = header.get("idle", {}).get(phase, ())
            updated = [name for name in owned if name not in still]
        slot_names = _slot_names(optimiser)
        wanted |= {f"opt/{phase}/{name}/{slot}" for name in updated for slot in slot_names}
    _require(wanted, tensors.keys())


def _require(wanted: Set[str], found: Set[str]) -> None:
    """Refuse names that are lacking, and names that are too many."""
    lacking, odd = sorted(wanted - found), sorted(found - wanted)
    if lacking or odd:
        parts = [
            f"{what} {len(names)} tensors ({names[0][:120]}{', ...' if len(names) > 1 else ''})"
            for what, names in (("lacks", lacking), ("has beside them", odd))
            if names
        ]
        raise ValueError(
            f"the checkpoint does not fit this training: it {' and '.join(parts)}; go on from "
            "another checkpoint, or start a new run"
        )


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, named without it."""
    start = prefix + "/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a prefix to their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def state(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and persistent buffers of a module by name, each tied tensor once."""
    persistent = module.state_dict().keys()
    pairs = chain(module.named_parameters(), module.named_buffers())
    return plain_names({name: tensor for name, tensor in pairs if name in persistent})


def slots(objective: Objective, optimiser: Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers, named ``<parameter>/<slot>``."""
    names = {id(p): plain_name(name) for name, p in objective.named_parameters()}
    return {
        f"{names[id(parameter)]}/{slot}": torch.as_tensor(value)
        for parameter, own in optimiser.state.items()
        for slot, value in own.items()
        if value is not None
    }


def idle(objective: Objective, optimiser: Optimizer) -> list[str]:
    """The names of an optimiser's parameters that never had a gradient."""
    known = {name.rpartition("/")[0] for name in slots(objective, optimiser)}
    return [name for name in _owned(objective, optimiser) if name not in known]


def _owned(objective: Objective, optimiser: Optimizer) -> list[str]:
    """The names of the parameters that an optimiser updates."""
    mine = {id(p) for group in optimiser.param_groups for p in group["params"]}
    return [plain_name(name) for name, p in objective.named_parameters() if id(p) in mine]


def _slot_names(optimiser: Optimizer) -> set[str]:
    """The names of an optimiser's slots, from a step of its like on one number."""
    number = nn.Parameter(torch.zeros(1))
    number.grad = torch.zeros(1)
    twin = copy.copy(optimiser)
    twin.state = defaultdict(dict)
    twin.param_groups = [{**optimiser.param_groups[0], "params": [number]}]
    twin.step()
    return {slot for slot, value in twin.state[number].items() if value is not None}


@torch.no_grad()
def _copy(own: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    odd = sorted(own.keys() ^ given.keys())
    odd += [k for k in own if k in given and own[k].shape != given[k].shape]
    if odd:
        raise ValueError(
            f"the checkpoint does not fit {what}: {len(odd)} tensors differ ({odd[0][:120]}, ...)"
        )
    for name, tensor in own.items():
        tensor.copy_(given[name])
