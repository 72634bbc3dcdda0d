"""What a shell completes: names of fields, solvers and data sets. None of it needs torch."""

from __future__ import annotations


def fields(incomplete: str) -> list[str]:
    """Names of fields that begin so."""
    from diffode import registry

    return _beginning(incomplete, [*registry.names("recipe"), *registry.aliases("recipe")])


def solvers(incomplete: str) -> list[str]:
    """Names of solvers that begin so."""
    from diffode import registry

    return _beginning(incomplete, [*registry.names("solver"), *registry.aliases("solver")])


def data(incomplete: str) -> list[str]:
    """Names of data sets that begin so."""
    from diffode.data import names

    return _beginning(incomplete, names())


def pictures(incomplete: str) -> list[str]:
    """Kinds of pictures that begin so."""
    from diffode.viz.kinds import KINDS

    return _beginning(incomplete, list(KINDS))


def _beginning(start: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(start)]
