"""``diffode fit-grid``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import typer

from diffode.cli.hints import command_line
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.devices import choose
from diffode.fields.base import AffineField
from diffode.files import require_writable
from diffode.runs.loading import load
from diffode.solvers.fitting import fit_grid


def command(
    run: Path,
    solver: str,
    steps: int,
    pilot: int,
    seed: int,
    weights: bool,
    assignments: list[str],
    parameters: str,
    device: str,
    out: Path,
) -> None:
    """Fit a grid to a run and write it."""
    if out.suffix != ".json":
        raise ValueError(f"got --out {out}; wanted a name that ends in .json")
    require_writable(out.parent)
    loaded = load(run, cast(Literal["ema", "raw"], parameters)).to(choose(device))
    field = loaded.field.eval()
    if not isinstance(field, AffineField):
        raise TypeError(f"{type(field).__name__} has no schedule to place times on")
    field.requires_grad_(False)
    rounds, done = 40, 0
    with progress_bar("fit", rounds) as bar:

        def show(loss: float) -> None:
            nonlocal done
            done += 1
            bar.advance(done, f"loss {loss:.3g} of 1", total=max(rounds, done))

        fitted = fit_grid(
            field,
            solver,
            steps,
            pilot,
            options=pairs(assignments),
            seed=seed,
            weights=weights,
            rounds=rounds,
            progress=show,
        )
        bar.advance(done, f"settled in {done} rounds", total=done)
    gain = fitted.before / fitted.after
    typer.echo(
        f"wrote {fitted.save(out)} (held-out error {fitted.before:.3g} -> {fitted.after:.3g}, "
        f"{gain:.2g} times smaller); use it with"
        f"{command_line('sample', run, '--grid', out)}"
    )
