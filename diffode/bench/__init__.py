"""Measures of sample quality, and of solvers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffode.bench.orders import Convergence, convergence

_HOMES = {"Convergence": "orders", "convergence": "orders"}

__all__ = ["Convergence", "convergence"]


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'diffode.bench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"diffode.bench.{_HOMES[name]}"), name)
