"""Commands look at their numbers before they hand them over.

Rows that are not finite, and results no row of which was finished, are refused: exit code 2, and
the numbers are kept beside, in a file of another name. Where only some rows spent their budget
the result is written, its ``status`` says which, and a warning says how many.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer
from torch import Tensor

from diffode.data.points import write_arrays
from diffode.files import is_main_process, require_place
from diffode.inputs import printable
from diffode.solvers.status import refusal, shortfall


def require_out(out: Path, *endings: str, file: Path | None = None) -> None:
    """Refuse a file that a command cannot write, before it begins.

    Arguments:
        out: what stands behind ``--out``.
        endings: how its name may end, such as ".npz".
        file: what the command reads.

    Raises:
        ValueError: another ending, the file that is read, or a place where no file can be written.
    """
    if file is not None and out.resolve() == file.resolve():
        raise ValueError(f"got --out {out}, which is the file that is read; give another name")
    if out.suffix not in endings:
        raise ValueError(f"got --out {out}; wanted a name that ends in {' or '.join(endings)}")
    require_place(out)


def deliver(
    out: Path,
    what: str,
    status: Tensor,
    nfe_per_row: Tensor,
    write: Callable[[Path], object] | None = None,
    **arrays: Tensor | None,
) -> None:
    """Write the rows that a command made, or refuse them.

    Arguments:
        out: the file.
        what, status, nfe_per_row, arrays: as for `require_sound`.
        write: how a file is written that is no .npz.

    Raises:
        ValueError: as `require_sound`.
    """
    require_sound(out, what, status, nfe_per_row, **arrays)
    if not is_main_process():
        return
    if write is None or out.suffix == ".npz":
        write_arrays(out, **arrays, status=status)
    else:
        write(out)
    warn(shortfall(status, nfe_per_row, what))


def require_sound(
    out: Path | None, what: str, status: Tensor, nfe_per_row: Tensor, **arrays: Tensor | None
) -> None:
    """Refuse rows that are no result, and keep their numbers for inspection.

    Arguments:
        out: where they should have gone; None keeps nothing.
        what: what the rows are, as messages name them.
        status, nfe_per_row: of each row, shape (B,), as in a `diffode.solvers.Solution`.
        arrays: the numbers; ``status`` is kept with them.

    Raises:
        ValueError: a row that is not finite, or no row that was finished.
    """
    said = refusal(status, nfe_per_row, what)
    if said and out is not None:
        aside = out.with_name(f"{out.stem}.refused.npz")
        if is_main_process():
            write_arrays(aside, **arrays, status=status)
        said += f"; {out} was not written, the numbers are in {aside}"
    if said:
        raise ValueError(said)


def warn(said: str) -> None:
    """Say what a result lacks, if anything, beside the output."""
    if said:
        typer.echo(f"warning: {printable(said)}", err=True)
