"""Warnings, each at the line of whoever called the package."""

from __future__ import annotations

import sys
import warnings


class DiffodeWarning(UserWarning):
    """What this package warns of."""


class DegeneracyWarning(DiffodeWarning):
    """That the weights of particles have degenerated: few of them count."""


def warn(said: str, kind: type[DiffodeWarning] = DiffodeWarning) -> None:
    """Warn of something, as from the innermost line that is not of this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        frame, level = frame.f_back, level + 1
    warnings.warn(said, kind, stacklevel=level)


def _is_ours(name: object) -> bool:
    return isinstance(name, str) and name.partition(".")[0] == __name__.partition(".")[0]
