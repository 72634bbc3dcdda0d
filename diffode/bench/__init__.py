"""Fair comparison: the same data, budgets and measures for every field, in cells that resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffode.bench.comparison import compare

__all__ = ["compare"]


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name != "compare":
        raise AttributeError(f"module 'diffode.bench' has no attribute {name!r}")
    from diffode.bench.comparison import compare

    return compare
