"""What became of the rows of a solve, as a number each and in words."""

from __future__ import annotations

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


def refusal(status: Tensor, nfe_per_row: Tensor, what: str = "rows") -> str:
    """Why these rows are no result: some are not finite, or none was finished; else empty.

    Arguments:
        status, nfe_per_row, what: as for `shortfall`.
    """
    sound = bool((status == DONE).any()) and not bool((status == LOST).any())
    return "" if sound else shortfall(status, nfe_per_row, what)
