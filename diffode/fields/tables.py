"""Modules whose own buffers keep their number type when cast, and stay shared when moved.

``field.half()`` is meant for the networks inside a field, which do with few digits. The field's
own buffers were not learned: the data's mean, the points of an exact field, the times of stages.
With 8 or 11 binary digits they would be those of another field.

A field around a field has the inner one's mean: one buffer with two names, of which a checkpoint
holds one. ``to`` makes a tensor of each name, and the checkpoint of a field on a GPU would hold
other names than that of the same field on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Tables(nn.Module):
    """A module whose buffers keep their number type: a cast reaches the modules inside alone.

    To another device its buffers move like all else; a buffer of several names stays one buffer.
    """

    def keeps(self, name: str) -> bool:
        """Whether the buffer of this name keeps its type: all do, unless a subclass says no."""
        return True

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = {name: b for name, b in self._buffers.items() if b is not None}
        names = list(self.named_buffers(remove_duplicate=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in before.items():
            now = self._buffers[name]
            if now is not None and now.dtype != buffer.dtype and self.keeps(name):
                self._buffers[name] = buffer.to(now.device)
        moved: dict[tuple[int, torch.dtype], Tensor] = {}
        for name, buffer in names:
            owner, _, last = name.rpartition(".")
            module = self.get_submodule(owner)
            now = module._buffers[last]
            if now is not None:
                module._buffers[last] = moved.setdefault((id(buffer), now.dtype), now)
        return self
