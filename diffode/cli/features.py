"""``diffode features``."""

from __future__ import annotations

import typer

from diffode import data as datasets
from diffode.cli.comparisons import Features
from diffode.cli.outcome import require_out
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.data.source import whole
from diffode.metrics.classifier import (
    accuracy,
    save_classifier,
    train_classifier,
    weights_hash,
)
from diffode.options import validate


def command(asked: Features) -> None:
    """Train the classifier of a data set, and say how good it is."""
    require_out(asked.out, ".safetensors")
    options = validate("a classifier", pairs(asked.assignments), train_classifier)
    del options["progress"]
    dataset = datasets.load(asked.data)
    if dataset.test_labels is None:
        raise ValueError(f"data set {dataset.name!r} has no labels to train a classifier on")
    with progress_bar(f"classifier of {dataset.name}", 1) as bar:

        def show(step: int, steps: int, loss: float) -> None:
            bar.advance(step, f"loss {loss:.3f}", steps)

        net = train_classifier(dataset, **options, progress=show)
    fraction = accuracy(net, whole(dataset.test), dataset.test_labels)
    about = {"data": dataset.name, "accuracy": fraction, "options": options}
    save_classifier(net, asked.out, about)
    typer.echo(f"{fraction:.1%} of {len(dataset.test)} held-out images named rightly")
    typer.echo(f"wrote {asked.out}, features {dataset.name}-cnn@{weights_hash(net)}")
