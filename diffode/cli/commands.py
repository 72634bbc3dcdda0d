"""The commands on one field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import completing
from diffode.cli.shared import (
    SEEDS,
    AxesAs,
    Background,
    Columns,
    Grey,
    Guided,
    LabelColumn,
    Levels,
    Nfe,
    OnTarget,
    OnWeights,
    Resize,
    Scale,
    SolverOptions,
    Steps,
    Trust,
    Weights,
    app,
)
from diffode.cli.stated import command


@command("train", "training:command", processes="own")
class Train:
    """Train a field, draw samples, and say how good they are.

    A run that was stopped or killed goes on with --resume RUN. It may be given more --steps then,
    another --device, and --data where its data were moved; what else was chosen stays.

    FIELD, DATA and --network may be your own code, as mine.py:name or package.module:name, which
    is run. A later command runs it again only with --trust.
    """

    first: Annotated[
        str | None,
        typer.Argument(
            metavar="FIELD",
            help="what to train, see diffode fields",
            autocompletion=completing.fields,
        ),
    ] = None
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="a set of diffode data, a .npy/.npz file, a folder of images [digits]",
            autocompletion=completing.data,
        ),
    ] = None
    field: Annotated[
        str | None,
        typer.Option(help="the same as FIELD", autocompletion=completing.fields),
    ] = None
    data: Annotated[
        str | None, typer.Option(help="the same as DATA", autocompletion=completing.data)
    ] = None
    prior_data: Annotated[
        str | None,
        typer.Option(
            help="data that the flow starts from, in the place of noise [none]",
            autocompletion=completing.data,
        ),
    ] = None
    steps: Annotated[int | None, typer.Option(help="training steps [by the data]")] = None
    minutes: Annotated[
        float | None,
        typer.Option(help="train as many steps as fit into this time, instead of --steps"),
    ] = None
    batch: Annotated[int | None, typer.Option(help="samples in a step [by the data]")] = None
    seed: Annotated[
        int | None, typer.Option(help="of weights, data order and noise [0]", **SEEDS)
    ] = None
    labels: Annotated[
        bool | None, typer.Option("--labels/--no-labels", help="train on the labels too")
    ] = None
    scale: Scale = None
    layout: AxesAs = None
    resize: Resize = None
    grey: Grey = None
    background: Background = None
    columns: Columns = None
    label: LabelColumn = None
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="a .npz of samples x, the noise or start n of each, and labels y to train on"
        ),
    ] = None
    solver: Annotated[
        str | None,
        typer.Option(help="to sample with at the end", autocompletion=completing.solvers),
    ] = None
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="any option of the recipe or trainer"),
    ] = None
    network: Annotated[
        str | None,
        typer.Option(help="mlp, unet, unet2d, dit or your own: mine.py:Net [by the data]"),
    ] = None
    out: Annotated[Path | None, typer.Option(help="run directory [runs/FIELD-DATA]")] = None
    resume: Annotated[
        Path | None, typer.Option(help="go on with this run directory or checkpoint")
    ] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            help="on a GPU, the same numbers each time [no: it is slower]",
        ),
    ] = None
    trust: Trust = False
    samples: Annotated[int, typer.Option(help="drawn at the end to measure", min=20)] = 2000
    defaults: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="a .toml, .yaml or .json file of such options, or a run's config.json",
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be done, and write nothing")
    ] = False


@command("sample", "sampling:command", processes="shared")
class Sample(Guided):
    """Draw samples of a trained field."""

    n: Annotated[
        int | None,
        typer.Option("--samples", "--n", help="how many in all [64, or as --per-class]", min=1),
    ] = None
    solver: Annotated[
        str | None, typer.Option(help="see diffode solvers", autocompletion=completing.solvers)
    ] = None
    nfe: Nfe = None
    steps: Steps = None
    seed: Annotated[int, typer.Option(help="of the samples", **SEEDS)] = 0
    label: Annotated[
        str | None,
        typer.Option(help="the class to draw, by number or name; several as 0,1,2, or all [any]"),
    ] = None
    per_class: Annotated[
        int | None, typer.Option("--per-class", help="how many of each class [10]", min=1)
    ] = None
    grid: Annotated[
        str | None, typer.Option(help="a kind of time grid, or a fitted grid's .json file")
    ] = None
    batch: Annotated[
        int, typer.Option(help="moved at once; processes share out whole batches", min=1)
    ] = 250
    temperature: Annotated[
        float, typer.Option(help="draw a normal prior so many times as wide")
    ] = 1.0
    assignments: SolverOptions = None
    out: Annotated[Path, typer.Option(help="a .png or .npz file")] = Path("samples.png")


@command("fit-grid", "fitting:command")
class FitGrid(OnTarget):
    """Fit the times of a solver to a trained field."""

    solver: Annotated[
        str,
        typer.Option(
            help="of fixed steps, see diffode solvers", autocompletion=completing.solvers
        ),
    ] = "trig"
    steps: Annotated[int, typer.Option(help="of the grid", min=2)] = 10
    pilot: Annotated[int, typer.Option(help="flows to fit to, half of them held out", min=8)] = 512
    seed: Annotated[int, typer.Option(help="of the pilots", **SEEDS)] = 0
    weights: Annotated[bool, typer.Option("--weights", help="fit the weights too")] = False
    assignments: SolverOptions = None
    parameters: Weights = "ema"
    out: Annotated[Path, typer.Option(help="a .json file")] = Path("grid.json")


@command("likelihood", "likelihood:command", processes="shared")
class Likelihood(OnWeights):
    """Print the likelihood card of a run.

    It states nats, bits per dimension, and what they hold.
    """

    data: Annotated[str, typer.Option(help="test, train, or a .npy/.npz file")] = "test"
    n: Annotated[int, typer.Option("--points", "--n", help="at most, of all classes", min=1)] = 200
    trace: Annotated[str, typer.Option(help="exact, hutchinson or hutch++")] = "exact"
    probes: Annotated[
        int, typer.Option(help="of an estimated trace; an error is stated from 10 on", min=1)
    ] = 16
    solver: Annotated[
        str, typer.Option(help="see diffode solvers", autocompletion=completing.solvers)
    ] = "dopri5"
    steps: Annotated[int | None, typer.Option(help="of a solver with steps", min=1)] = None
    as_is: Annotated[bool, typer.Option("--as-is", help="do not dequantise")] = False
    levels: Levels = None
    seed: Annotated[int, typer.Option(help="of points, dequantisation and probes", **SEEDS)] = 0
    assignments: SolverOptions = None
    out: Annotated[Path | None, typer.Option(help="the card as a .json file")] = None
    values: Annotated[Path | None, typer.Option(help="the points' values as .npz")] = None


@command("convert", "converting:command")
class Convert:
    """Convert a checkpoint of EDM or PFGM++ to safetensors and JSON.

    The file is a pickle, which is read as data: no code in it is run. The folder is a TARGET, as
    the file is, and opens faster.
    """

    file: Annotated[Path, typer.Argument(metavar="FILE", help="a .pkl of EDM, a .pt of PFGM++")]
    out: Annotated[Path | None, typer.Option(help="a folder [the name of FILE]")] = None


@app.command()
def tour(
    out: Annotated[Path, typer.Option(help="the .png file")] = Path("tour.png"),
    seed: Annotated[int, typer.Option(help="of the starting points", **SEEDS)] = 0,
    data: Annotated[
        str | None,
        typer.Option(help="a set of points [a tour of two]", autocompletion=completing.data),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            help="of diffode fields, up to four [poisson, vp, rectified]",
            autocompletion=completing.fields,
        ),
    ] = None,
) -> None:
    """Draw exact flows side by side.

    They are Poisson, VP and rectified flow, without training. With --data or --field, which may be
    given several times, the paths of those fields on that set, from one random draw.
    """
    from diffode.cli.outcome import require_out

    if data is not None or field:
        from diffode.cli.touring import chosen

        require_out(out, ".png", ".svg", ".pdf")
        typer.echo(f"wrote {chosen(out, seed, data, field)}")
        return
    from diffode.viz.tour import tour as draw

    require_out(out, ".png")
    typer.echo(f"wrote {draw(out, seed)}")
