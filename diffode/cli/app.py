"""The commands and their options; each imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="diffode",
    help="Generative models that are ODEs: train, sample and compare them with one interface.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_UsageError: Any = typer.BadParameter.__base__  # typer's own, wherever it keeps it
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="a run directory or a checkpoint")]
Nfe = Annotated[int | None, typer.Option(help="evaluations to spend, at most", min=1)]
Steps = Annotated[int | None, typer.Option(help="steps, instead of --nfe", min=1)]
SolverOptions = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="an option of the solver, as rtol=1e-5"),
]
Weights = Annotated[str, typer.Option(help="ema or raw")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
_SEEDS: Any = {"min": 0, "max": 2**64 - 1}


@app.command()
def train(
    field: Annotated[str | None, typer.Option(help="what to train, see diffode fields")] = None,
    data: Annotated[
        str | None, typer.Option(help="a set of diffode data, or a .npy/.npz file [digits]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="training steps")] = None,
    batch: Annotated[int | None, typer.Option(help="samples in a step")] = None,
    seed: Annotated[
        int | None, typer.Option(help="of weights, data order and noise [0]", **_SEEDS)
    ] = None,
    labels: Annotated[
        bool | None, typer.Option("--labels", help="train on the labels too")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="any option of the recipe or trainer"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="run directory [runs/FIELD-DATA]")] = None,
    resume: Annotated[Path | None, typer.Option(help="go on with this run directory")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    samples: Annotated[int, typer.Option(help="drawn at the end to measure", min=10)] = 2000,
) -> None:
    """Train a field, draw samples, and say how good they are."""
    from diffode.cli.training import command

    given = {"steps": steps, "batch": batch, "device": device}
    command(field, data, seed, labels, given, set_ or [], out, resume, samples)


@app.command()
def sample(
    run: RunFolder,
    n: Annotated[int, typer.Option(help="how many samples", min=1)] = 64,
    solver: Annotated[str | None, typer.Option(help="see diffode solvers")] = None,
    nfe: Nfe = None,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(help="of the samples", **_SEEDS)] = 0,
    label: Annotated[int | None, typer.Option(help="the class to draw")] = None,
    grid: Annotated[
        str | None, typer.Option(help="a kind of time grid, or a fitted grid's .json file")
    ] = None,
    set_: SolverOptions = None,
    weights: Weights = "ema",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="a .png or .npz file")] = Path("samples.png"),
) -> None:
    """Draw samples of a trained field."""
    from diffode.cli.sampling import command

    command(run, n, solver, nfe, steps, seed, label, grid, set_ or [], weights, device, out)


@app.command("fit-grid")
def fit_grid(
    run: RunFolder,
    solver: Annotated[str, typer.Option(help="of fixed steps, see diffode solvers")] = "trig",
    steps: Annotated[int, typer.Option(help="of the grid", min=2)] = 10,
    pilot: Annotated[
        int, typer.Option(help="flows to fit to, half of them held out", min=8)
    ] = 512,
    seed: Annotated[int, typer.Option(help="of the pilots", **_SEEDS)] = 0,
    weights: Annotated[bool, typer.Option("--weights", help="fit the weights too")] = False,
    set_: SolverOptions = None,
    parameters: Weights = "ema",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="a .json file")] = Path("grid.json"),
) -> None:
    """Fit the times of a solver to a trained field."""
    from diffode.cli.fitting import command

    command(run, solver, steps, pilot, seed, weights, set_ or [], parameters, device, out)


@app.command("eval")
def evaluate(
    run: RunFolder,
    n: Annotated[
        int,
        typer.Option("--n", "--samples", help="at most as many as there are training points"),
    ] = 2000,
    solver: Annotated[str | None, typer.Option(help="see diffode solvers")] = None,
    nfe: Nfe = None,
    seed: Annotated[int, typer.Option(help="of the samples", **_SEEDS)] = 0,
    set_: SolverOptions = None,
    features: Annotated[
        list[str] | None,
        typer.Option(help="a feature space: pixels, pca, classifier, inception, or a file"),
    ] = None,
    likelihood: Annotated[
        bool, typer.Option("--likelihood", help="bits per dimension too (slow)")
    ] = False,
    weights: Weights = "ema",
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="the folder [RUN/eval/SOLVER-NFE-KEY]")] = None,
) -> None:
    """Measure a run's samples beside real data: distances, shares, copying, classes, paths.

    Samples are kept in parts, so a stopped evaluation goes on where it was; torchrun shares them
    out over processes (with --samples: torchrun takes --n for its own).
    """
    from diffode.cli.evaluating import command

    command(
        run, n, solver, nfe, set_ or [], seed, features, likelihood, weights, device, out
    )  # fmt: skip


@app.command()
def likelihood(
    run: RunFolder,
    data: Annotated[str, typer.Option(help="test, train, or a .npy/.npz file")] = "test",
    n: Annotated[int, typer.Option(help="points, at most", min=1)] = 200,
    trace: Annotated[str, typer.Option(help="exact, hutchinson or hutch++")] = "exact",
    probes: Annotated[int, typer.Option(help="of an estimated trace", min=2)] = 8,
    solver: Annotated[str, typer.Option(help="see diffode solvers")] = "dopri5",
    steps: Annotated[int | None, typer.Option(help="of a solver with steps", min=1)] = None,
    as_is: Annotated[bool, typer.Option("--as-is", help="do not dequantise")] = False,
    seed: Annotated[int, typer.Option(help="of dequantisation and probes", **_SEEDS)] = 0,
    set_: SolverOptions = None,
    weights: Weights = "ema",
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="the card as a .json file")] = None,
    values: Annotated[Path | None, typer.Option(help="the points' values as .npz")] = None,
) -> None:
    """Print the likelihood card of a run: nats, bits per dimension, and what they hold."""
    from diffode.cli.likelihood import command

    command(
        run, data, n, trace, probes, solver, steps, as_is, seed, set_ or [], weights, device, out,
        values,
    )  # fmt: skip


@app.command()
def encode(
    run: RunFolder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="points, .npy or .npz")],
    solver: Annotated[str, typer.Option(help="see diffode solvers")] = "dopri5",
    nfe: Nfe = None,
    steps: Steps = None,
    grid: Annotated[str | None, typer.Option(help="a kind of time grid")] = None,
    set_: SolverOptions = None,
    weights: Weights = "ema",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="a .npz file")] = Path("latents.npz"),
) -> None:
    """Carry points to the prior, and say what the way there and back loses."""
    from diffode.cli.encoding import encode_command

    encode_command(run, file, solver, nfe, steps, grid, set_ or [], weights, device, out)


@app.command()
def decode(
    run: RunFolder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="latents, .npy or .npz")],
    solver: Annotated[str, typer.Option(help="see diffode solvers")] = "dopri5",
    nfe: Nfe = None,
    steps: Steps = None,
    grid: Annotated[str | None, typer.Option(help="a kind of time grid")] = None,
    final: Annotated[str, typer.Option(help="none, or denoise")] = "none",
    set_: SolverOptions = None,
    weights: Weights = "ema",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="a .png or .npz file")] = Path("decoded.png"),
) -> None:
    """Carry latents to the data."""
    from diffode.cli.encoding import decode_command

    decode_command(run, file, solver, nfe, steps, grid, final, set_ or [], weights, device, out)


@app.command()
def bench(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="a .toml, .yaml or .json file")
    ] = None,
    field: Annotated[list[str] | None, typer.Option(help="to compare, see diffode fields")] = None,
    data: Annotated[list[str] | None, typer.Option(help="to compare on")] = None,
    solver: Annotated[
        list[str] | None, typer.Option(help="a name, or name:key=value,key=value")
    ] = None,
    nfe: Annotated[list[int] | None, typer.Option(help="evaluations, at most", min=1)] = None,
    seed: Annotated[list[int] | None, typer.Option(help="of a training", **_SEEDS)] = None,
    steps: Annotated[int | None, typer.Option(help="training steps of each", min=1)] = None,
    seconds: Annotated[float | None, typer.Option(help="training time of each instead")] = None,
    samples: Annotated[int | None, typer.Option(help="of each cell", min=50)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="an option of the trainer or network"),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="also the error budget of a solver, as heun@20")
    ] = None,
    merge: Annotated[
        list[Path] | None, typer.Option(help="finished folders to make one report of")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    out: Annotated[Path, typer.Option(help="the folder")] = Path("runs/bench"),
) -> None:
    """Compare fields and solvers at equal evaluations, network, budget and seeds.

    Each option may be given several times. What is there already is not computed again.
    """
    from diffode.cli.comparing import command

    given = {
        "fields": field, "data": data, "solvers": solver, "nfe": nfe, "seeds": seed,
        "steps": steps, "seconds": seconds, "samples": samples, "budget": budget,
        "device": device,
    }  # fmt: skip
    command(config, given, set_ or [], merge or [], out)


@app.command()
def features(
    data: Annotated[str, typer.Argument(metavar="DATA", help="a labelled set of images")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="an option, as epochs=8"),
    ] = None,
    out: Annotated[Path, typer.Option(help="a .safetensors file")] = Path(
        "classifier.safetensors"
    ),
) -> None:
    """Train the small classifier whose hidden layer is a feature space."""
    from diffode.cli.features import command

    command(data, set_ or [], out)


@app.command()
def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="a run, a checkpoint, module:attribute or file.py:attribute"
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="what it should make [the run's own]: a set, or a file")
    ] = None,
    device: Device = "auto",
) -> int:
    """Check a field, yours or a run's, and name the likely mistake (exit code 1)."""
    from diffode.cli.checking import command

    return command(target, data, device)


@app.command()
def fields() -> None:
    """List the fields that can be trained."""
    from diffode.cli.lists import fields as show

    show()


@app.command()
def solvers() -> None:
    """List the solvers."""
    from diffode.cli.lists import solvers as show

    show()


@app.command()
def data() -> None:
    """List the data sets."""
    from diffode.cli.lists import data as show

    show()


@app.command()
def tour(
    out: Annotated[Path, typer.Option(help="the .png file")] = Path("tour.png"),
    seed: Annotated[int, typer.Option(help="of the starting points", **_SEEDS)] = 0,
) -> None:
    """Draw exact Poisson, VP and rectified flows side by side, without training."""
    from diffode.files import require_writable
    from diffode.viz.tour import tour as draw

    if out.suffix != ".png":
        raise ValueError(f"got --out {out}; wanted a name that ends in .png")
    require_writable(out.parent)
    typer.echo(f"wrote {draw(out, seed)}")


def run(arguments: list[str]) -> int:
    """Run a command; the exit code."""
    try:
        code = app(arguments or ["--help"], standalone_mode=False)
        return code if isinstance(code, int) else 0
    except _UsageError as error:
        return fail(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        return 130
    except (ValueError, TypeError, OSError, RuntimeError, MemoryError) as error:
        if os.environ.get("DIFFODE_TRACEBACK"):
            raise
        return fail(str(error))


def fail(message: str) -> int:
    """Say what is wrong in one line."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def pairs(assignments: list[str]) -> dict[str, str]:
    """The keys and values of ``--set key=value``.

    Raises:
        ValueError: an assignment without a key or an equals sign.
    """
    out: dict[str, str] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ValueError(f"got --set {text!r}; wanted --set key=value")
        out[key.strip()] = value.strip()
    return out
