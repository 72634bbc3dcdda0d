"""What ``torch.compile`` wraps: the module inside, and its names without the wrapper's part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import nn

_INSIDE = "_orig_mod"
_PART = re.compile(rf"(^|[./]){_INSIDE}\.")
Value = TypeVar("Value")


def plain_module(module: nn.Module) -> nn.Module:
    """The module that ``torch.compile`` wrapped, or the module itself."""
    while (inside := module._modules.get(_INSIDE)) is not None:
        module = inside
    return module


def plain_name(name: str) -> str:
    """The name of a parameter as it is without ``torch.compile``."""
    return _PART.sub(r"\1", name)


def plain_names(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The same with `plain_name` in place of each name."""
    return {plain_name(name): value for name, value in tensors.items()}
