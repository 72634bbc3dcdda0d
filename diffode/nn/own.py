"""A network that is given itself, ``network=my_module``, in place of a name.

A function or class that a module holds is known by its place, as if that were given. Anything
else, such as a module that is made already, has a name for this process alone: files keep the
name, and another process has to be given the thing again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from diffode import code, registry
from diffode.inputs import quoted


def named(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options, a network that is given itself replaced by the name that finds it.

    Raises:
        TypeError: something that is no network and makes none.
    """
    network = options.get("network")
    return dict(options) if network is None else {**options, "network": name_of(network)}


def name_of(network: object) -> str:
    """The name that finds a network in this process, or a name itself.

    Raises:
        TypeError: something that is no network and makes none.
    """
    if isinstance(network, str):
        return network
    if not callable(network):
        raise TypeError(
            f"got network of type {type(network).__name__}; wanted a torch module, a class or "
            "function that makes one, or a name"
        )
    place = code.place_of(network)
    if place is not None and code.leads_to(place, network):
        return str(place)
    of = getattr(network, "__name__", type(network).__name__)
    unique = _content(network) if isinstance(network, nn.Module) else uuid.uuid4().hex
    return registry.keep("network", f"{registry.OBJECT}{of} {unique[:12]}", network)


def give_again(name: object, network: object) -> None:
    """Let the name of a file stand for a network that is given.

    Raises:
        ValueError: a name that finds its network by itself.
        TypeError: something that is no network and makes none.
    """
    if not isinstance(name, str) or not name.startswith(registry.OBJECT):
        raise ValueError(
            f"the network of this checkpoint is {quoted(name)}, which its name finds; leave "
            "network= away"
        )
    name_of(network)
    registry.keep("network", name, network)


def _content(module: nn.Module) -> str:
    """A hash of what a module is and holds, the same in every process."""
    found = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        found.update(name.encode())
        if isinstance(value, torch.Tensor):
            raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            found.update(raw.numpy().tobytes())
    return found.hexdigest()
