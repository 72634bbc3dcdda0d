"""What a field knows beside its networks: tables that keep their type when the field is cast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class Tables(nn.Module):
    """A module whose own buffers keep their type: ``.half()`` casts the networks inside alone.

    The data's mean, exact points or times in 8 bits of mantissa would be those of another field.
    """

    def keeps(self, name: str) -> bool:
        """Whether the buffer of this name keeps its type: all do."""
        return True

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = {name: b for name, b in self._buffers.items() if b is not None}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in before.items():
            now = self._buffers[name]
            if now is not None and now.dtype != buffer.dtype and self.keeps(name):
                self._buffers[name] = buffer.to(now.device)
        return self
