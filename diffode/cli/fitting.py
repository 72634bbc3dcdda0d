"""``diffode fit-grid``."""

from __future__ import annotations

import typer

from diffode.cli.commands import FitGrid
from diffode.cli.guiding import target_of
from diffode.cli.hints import command_line
from diffode.cli.outcome import require_out
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.fields.affine import AffineField
from diffode.solvers.fitting import fit_grid


def command(asked: FitGrid) -> None:
    """Fit a grid to a run and write it."""
    require_out(asked.out, ".json")
    target = target_of(asked, asked.parameters)
    field = target.field.eval()
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
            asked.solver,
            asked.steps,
            asked.pilot,
            options=pairs(asked.assignments),
            seed=asked.seed,
            weights=asked.weights,
            rounds=rounds,
            progress=show,
        )
        bar.advance(done, f"settled in {done} rounds", total=done)
    gain = fitted.before / fitted.after
    typer.echo(
        f"wrote {fitted.save(asked.out)} (held-out error {fitted.before:.3g} -> "
        f"{fitted.after:.3g}, {gain:.2g} times smaller); use it with"
        f"{command_line('sample', asked.target, '--grid', asked.out)}"
    )
