"""An option that recipes with couplings share."""

from __future__ import annotations

REGULARISATION = 0.05


def require_used(coupling: str, regularisation: float) -> None:
    """Refuse a regularisation that a coupling would not look at.

    Arguments:
        coupling: as of the recipe "rectified".
        regularisation: of Sinkhorn's plan, epsilon over the mean squared distance of a batch.

    Raises:
        ValueError: one is stated for another coupling.
    """
    if regularisation != REGULARISATION and coupling != "sinkhorn":
        raise ValueError(
            f"got regularisation={regularisation:g} for coupling={coupling}; it is for "
            "coupling=sinkhorn"
        )
