"""What became of the rows of a solve, as a number each and in words."""

from __future__ import annotations

import torch
from torch import Tensor

DONE, SPENT, LOST = 0, 1, 2
MOST_NFE = 10_000  # evaluations of a row, where no budget is given


def finite(x: Tensor) -> Tensor:
    """Whether all numbers of each row are finite, shape (B,)."""
    return x.reshape(len(x), -1).isfinite().all(1)


def with_lost(status: Tensor, x: Tensor) -> Tensor:
    """The status with `LOST` for the rows of x that are not finite."""
    return status.masked_fill(~finite(x), LOST)


def shortfall(status: Tensor, nfe_per_row: Tensor, what: str = "rows") -> str:
    """One line on the rows that did not reach their end; empty where all did.

    Arguments:
        status: of each row, shape (B,).
        nfe_per_row: the evaluations that each took, shape (B,).
        what: what the rows are.
    """
    spent, lost = status == SPENT, int((status == LOST).sum())
    said = []
    if bool(spent.any()):
        most = int(nfe_per_row[spent].max())
        said.append(
            f"{int(spent.sum())} of {len(status)} {what} did not finish (budget of {most} "
            "evaluations spent; raise max_nfe, or loosen rtol and atol)"
        )
    if lost:
        said.append(
            f"{lost} of {len(status)} {what} are not finite, or stopped where the velocity is not"
        )
    return "; ".join(said)


def merged(one: Tensor, other: Tensor) -> Tensor:
    """The worse status of two solves of the same rows."""
    return torch.maximum(one, other.to(one))
