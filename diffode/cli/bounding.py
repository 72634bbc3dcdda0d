"""``diffode likelihood`` of fields of tokens: a bound of the log-probability from below."""

from __future__ import annotations

import json
import math

import typer
from torch import Tensor

from diffode.cli.commands import Likelihood
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.data.points import write_arrays
from diffode.data.scaling import model_units
from diffode.fields.tokens import TokenField
from diffode.files import write_text
from diffode.likelihood.bounds import DRAWS, Elbo, elbo
from diffode.options import Count, validate

BATCH = 50
_OF_FLOWS = ("trace", "probes", "solver", "as_is", "levels")


def options(*, draws: Count = DRAWS, closed: bool | None = None) -> None:
    """What ``--set`` takes for a bound.

    Arguments:
        draws: corruptions of each sample.
        closed: whether the finite sum of masks is taken; open where there are at most 8 positions.
    """


def command(
    asked: Likelihood, field: TokenField, x: Tensor, y: Tensor | None, rows: Tensor
) -> None:
    """Print the bound of samples in the units of the data, and write what was asked for.

    Raises:
        ValueError: an option of densities along a flow, or one that the bound does not have.
    """
    for name in _OF_FLOWS:
        if getattr(asked, name) != getattr(Likelihood, name):
            raise ValueError(
                f"got --{name.replace('_', '-')}, which is for densities along a flow; tokens "
                "have a bound, with --steps, --set draws=N and --set closed=true"
            )
    chosen = validate("the bound of tokens", pairs(asked.assignments), options)
    with progress_bar("likelihood", len(x)) as bar:
        found = elbo(
            field,
            x,
            y,
            steps=asked.steps,
            seed=asked.seed,
            batch=BATCH,
            progress=bar.advance,
            **chosen,
        )
    typer.echo(card(found, x, field, asked.steps))
    if asked.out is not None:
        content = {"run": asked.target, "data": asked.data, "seed": asked.seed}
        write_text(asked.out, json.dumps(content | figures(found, x, field), indent=2) + "\n")
        typer.echo(f"wrote {asked.out}")
    if asked.values is not None:
        arrays = {"x": x, "nats": found.nats, "stderr": found.stderr, "y": y, "row": rows}
        write_arrays(asked.values, **arrays)
        typer.echo(f"wrote {asked.values} ({len(x)} points)")


def figures(found: Elbo, x: Tensor, field: TokenField) -> dict[str, float | int | bool | None]:
    """The means over the samples, in nats where nothing else is said, for JSON.

    Where tokens are bins of width w, N coordinates have the density
    log P - N log w, in the units of the data.
    """
    count, positions = len(x), x[0].numel()
    mean = float(found.nats.mean())
    spread = float(found.nats.std()) / math.sqrt(count) if count > 1 else math.inf
    dense = field.levels.bins and field.levels.within(model_units(x, field.scaling))
    width = positions * math.log(field.levels.step) - field.log_volume
    numbers = {
        "nats": mean,
        "nats_stderr": spread,
        "bits_per_token": -mean / (positions * math.log(2)),
        "density_nats": mean - width if dense else math.nan,
        "estimator_error": float(found.stderr.square().sum().sqrt()) / count,
    }
    known: dict[str, float | int | bool | None] = {
        k: v if math.isfinite(v) else None for k, v in numbers.items()
    }
    return known | {
        "points": count,
        "positions": positions,
        "bound": True,
        "closed": found.closed,
        "calls": found.calls,
    }


def card(found: Elbo, x: Tensor, field: TokenField, steps: int | None) -> str:
    """The figures in lines: what, how much, and what it means."""
    f, count, positions = figures(found, x, field), len(x), x[0].numel()
    how = f"the finite sum over {found.calls} sets of shown positions"
    if not found.closed:
        how = f"by {found.calls} corruptions of each; of the mean"
    drawn = "many steps" if steps is None else f"{steps} steps"
    lines = [
        ("nats", _said(f["nats"]), f"+- {_said(f['nats_stderr'], 2)} over the samples"),
        ("bits per token", _said(f["bits_per_token"]), "at most: what coding a token costs"),
        ("estimator error", _said(f["estimator_error"], 2), how),
        ("evaluations", str(found.calls), "of the network, for each sample"),
    ]
    if field.levels.bins:
        said = "as a density, uniform within the bins that the tokens are"
        if f["density_nats"] is None:
            said = "none: some samples lie beyond the bins, of which the last have no end"
        lines.insert(1, ("density", _said(f["density_nats"]), said))
    title = (
        f"a lower bound of the log-probability of {count} samples of {positions} tokens, where "
        f"{drawn} are taken: the true mean is this or more"
    )
    return "\n".join([title, *(f"  {a:<19} {b:>12}  {c}" for a, b, c in lines)])


def _said(value: float | None, digits: int = 5) -> str:
    return "-" if value is None else f"{value:.{digits}g}"
