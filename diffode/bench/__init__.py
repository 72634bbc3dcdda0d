"""Fair comparison: metrics, error budgets, measured orders, and runs of many cells."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffode.bench.bound import Bound, wasserstein_bound
    from diffode.bench.budget import ErrorBudget, error_budget
    from diffode.bench.comparison import compare
    from diffode.bench.orders import Convergence, convergence
    from diffode.bench.panel import Panel

_HOMES = {
    "Bound": "bound",
    "Convergence": "orders",
    "ErrorBudget": "budget",
    "Panel": "panel",
    "compare": "comparison",
    "convergence": "orders",
    "error_budget": "budget",
    "wasserstein_bound": "bound",
}

__all__ = [
    "Bound",
    "Convergence",
    "ErrorBudget",
    "Panel",
    "compare",
    "convergence",
    "error_budget",
    "wasserstein_bound",
]


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'diffode.bench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"diffode.bench.{_HOMES[name]}"), name)
