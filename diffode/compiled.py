"""What ``torch.compile`` wraps: the module inside, its kind, and its names without the wrapper's.

``torch.compile(module)`` returns another module that passes attributes on to the one inside, but
is no instance of its class and puts a word before the names of its parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

_INSIDE = "_orig_mod"
_PART = re.compile(rf"(^|[./]){_INSIDE}\.")
Value = TypeVar("Value")


class SeenThrough(type):
    """The type of classes whose compiled instances count as instances."""

    def __instancecheck__(cls, instance: object) -> bool:
        """Whether it, or what ``torch.compile`` wrapped in it, is an instance."""
        if super().__instancecheck__(instance):
            return True
        inside = instance._modules.get(_INSIDE) if isinstance(instance, nn.Module) else None
        return inside is not None and isinstance(inside, cls)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Within, compiled modules run as they are: ``torch.func`` does not reach through them."""
    if torch.compiler.is_compiling():
        yield
    else:
        with torch.compiler.set_stance("force_eager"):
            yield


@contextmanager
def differentiable() -> Iterator[None]:
    """Within, a network can be differentiated twice: uncompiled, attention by its plain formula.

    The fused attentions have no second derivative, and no rule for ``torch.vmap``.
    """
    with uncompiled(), sdpa_kernel(SDPBackend.MATH):
        yield


def plain_name(name: str) -> str:
    """The name of a parameter as it is without ``torch.compile``."""
    return _PART.sub(r"\1", name)


def plain_names(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The same with `plain_name` in place of each name."""
    return {plain_name(name): value for name, value in tensors.items()}
