"""The commands that measure, compare and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import completing
from diffode.cli.shared import (
    SEEDS,
    Guided,
    Interval,
    Levels,
    Nfe,
    NullLabel,
    OnTarget,
    SolverOptions,
    Trust,
)
from diffode.cli.stated import command


@command("eval", "evaluating:command", processes="own")
class Evaluate(Guided):
    """Measure samples beside real data.

    What is measured: distances, shares, copying, classes, paths.

    Samples are kept in parts, so a stopped evaluation goes on where it was; torchrun shares them
    out over processes (give it --samples: torchrun takes --n for its own).
    """

    n: Annotated[
        int,
        typer.Option("--samples", "--n", help="at most as many as there are training points"),
    ] = 2000
    data: Annotated[
        str | None, typer.Option(help="to measure against [what the run was trained on]")
    ] = None
    solver: Annotated[
        str | None, typer.Option(help="see diffode solvers", autocompletion=completing.solvers)
    ] = None
    nfe: Nfe = None
    seed: Annotated[int, typer.Option(help="of the samples", **SEEDS)] = 0
    assignments: SolverOptions = None
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="a feature space: pixels, pca, classifier, inception, its file, or mine.py:name"
        ),
    ] = None
    metric: Annotated[
        list[str] | None,
        typer.Option(help="a further metric: a name, or mine.py:name, whose code is run"),
    ] = None
    likelihood: Annotated[
        bool, typer.Option("--likelihood", help="bits per dimension too (slow)")
    ] = False
    levels: Levels = None
    out: Annotated[Path | None, typer.Option(help="the folder [RUN/eval/SOLVER-NFE-KEY]")] = None


@command("bench", "comparing:command", processes="own")
class Bench:
    """Compare fields and solvers, all else equal.

    Fields are trained, with the same network, data, length and seeds, or are TARGETs, which are
    taken as they are: a run, a checkpoint, also of EDM or PFGM++, a folder of diffusers or
    hf:owner/name, or code, which is run. All are measured at the same evaluations.

    Without a CONFIG, a TARGET or an option nothing is started; what is not stated is as usual.

    --field, --data, --solver, --nfe, --seed, --guidance, --set, --features, --metric and --merge
    may be given several times. What is there already is not computed again.
    """

    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG|TARGET",
            help="a .toml, .yaml or .json file, and what is compared as it is",
        ),
    ] = None
    config: Annotated[Path | None, typer.Option(help="the same as CONFIG")] = None
    field: Annotated[
        list[str] | None,
        typer.Option(
            help="to train and compare, see diffode fields", autocompletion=completing.fields
        ),
    ] = None
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="to compare on [what runs were trained on]", autocompletion=completing.data
        ),
    ] = None
    solver: Annotated[
        list[str] | None,
        typer.Option(
            help="a name, or name:key=value,key=value", autocompletion=completing.solvers
        ),
    ] = None
    nfe: Annotated[list[int] | None, typer.Option(help="evaluations, at most", min=1)] = None
    seed: Annotated[list[int] | None, typer.Option(help="of a training", **SEEDS)] = None
    steps: Annotated[int | None, typer.Option(help="training steps of each", min=1)] = None
    seconds: Annotated[float | None, typer.Option(help="training time of each instead")] = None
    samples: Annotated[int | None, typer.Option(help="of each cell", min=50)] = None
    labels: Annotated[
        bool | None,
        typer.Option("--labels/--no-labels", help="train on the labels and draw with them"),
    ] = None
    guidance: Annotated[
        list[float] | None,
        typer.Option(metavar="W", help="guide to the labels; then --nfe counts network calls"),
    ] = None
    classifier: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="guide by this classifier, not from no label"),
    ] = None
    interval: Interval = None
    null_label: NullLabel = None
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="an option of the trainer or network"),
    ] = None
    budget: Annotated[
        str | None, typer.Option(help="also the error budget of a solver, as heun@20")
    ] = None
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="a feature space: pixels, pca, classifier, inception, its file, or mine.py:name"
        ),
    ] = None
    metric: Annotated[
        list[str] | None,
        typer.Option(help="a further metric: a name, or mine.py:name, whose code is run"),
    ] = None
    merge: Annotated[
        list[Path] | None, typer.Option(help="finished folders to make one report of")
    ] = None
    trust: Trust = False
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None
    out: Annotated[Path, typer.Option(help="the folder")] = Path("runs/bench")
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="list what would be done, and do nothing")
    ] = False


@command("features", "features:command")
class Features:
    """Train a classifier as a feature space.

    The space is the hidden layer of this small classifier.
    """

    data: Annotated[str, typer.Argument(metavar="DATA", help="a labelled set of images")]
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="an option, as epochs=8"),
    ] = None
    out: Annotated[Path, typer.Option(help="a .safetensors file")] = Path("classifier.safetensors")


@command("check", "checking:command")
class Check(OnTarget):
    """Check a field and name its likely mistake.

    The field is yours or a run's; the exit code is 1 where a check fails.

    This runs the code that it is given: a module or a file is imported and the function called,
    whatever they do. A run or a checkpoint is data, and nothing in it is run without --trust.
    """

    data: Annotated[
        str | None, typer.Option(help="what it should make [the run's own]: a set, or a file")
    ] = None


@command("verify", "verifying:command")
class Verify:
    """Verify that a run is what was written, file by file.

    Looked at are its configuration and history, its data, the checksums of its checkpoints and
    results, and whether samples come out again. A line says of each: ok, wrong or unknown. The
    exit code is 0 where nothing is wrong, 1 where something is, and 2 where nothing can be
    verified.
    """

    target: Annotated[
        str,
        typer.Argument(metavar="RUN", help="a run or a checkpoint; of others, folder or file"),
    ]
    data: Annotated[
        str | None, typer.Option(help="where the data of the run are now [where they were]")
    ] = None
    n: Annotated[
        int, typer.Option("--samples", "--n", help="how many to draw again, 0 for none", min=0)
    ] = 16
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto"
    trust: Trust = False
