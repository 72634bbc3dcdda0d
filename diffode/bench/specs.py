"""A solver of a comparison as it is written: ``name`` or ``name:key=value,key=value``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffode import code, registry
from diffode.inputs import quoted
from diffode.solvers import Solver, stored_solver


@dataclass(frozen=True)
class SolverSpec:
    """A solver by name and options, as ``dopri5:clock=native``.

    Attributes:
        text: as it was written, which is how tables name it.
        name: of the solver.
        options: of the solver, as strings.
        grid: the kind of time grid, from ``grid=...`` among them; None is the solver's favourite.
    """

    text: str
    name: str
    options: tuple[tuple[str, str], ...]
    grid: str | None = None

    @classmethod
    def parse(cls, text: str) -> SolverSpec:
        """Read ``name`` or ``name:key=value,key=value``; code that is named has to run before.

        Raises:
            ValueError: an unknown solver or option.
        """
        name, rest = name_and_options(text)
        items = [item.partition("=") for item in rest.split(",")] if rest is not None else []
        for key, equals, _ in items:
            if not (key and equals):
                raise ValueError(f"got solver {quoted(text)}; wanted name:key=value,key=value")
        options = {key: value for key, _, value in items}
        kind = options.pop("grid", None)
        if kind is not None:
            registry.find("grid", kind)
        spec = cls(text, name, tuple(options.items()), kind)
        spec.make()
        return spec

    @property
    def key(self) -> tuple[Any, ...]:
        """What decides the samples that it draws."""
        own = (self.name, self.options)
        return own if self.grid is None else (*own, self.grid)

    def make(self, **more: Any) -> Solver:  # noqa: ANN401
        """The solver."""
        return stored_solver(self.name, **dict(self.options), **more)

    def chosen(self, **more: Any) -> Solver | None:  # noqa: ANN401
        """The solver, or None for each field's usual one."""
        return None if self.name == "default" and not self.options else self.make(**more)


def name_and_options(text: str) -> tuple[str, str | None]:
    """The name of a solver, which may be a place as ``mine.py:Mine``, and its options."""
    name, colon, rest = text.partition(":")
    attribute, more, options = rest.partition(":")
    if code.place(f"{name}:{attribute}") is not None and not registry.is_known("solver", name):
        return f"{name}:{attribute}", options if more else None
    return name, rest if colon else None
