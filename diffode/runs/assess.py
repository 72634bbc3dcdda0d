"""How good a run's samples are: the panel of ``diffode eval``, on samples drawn at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffode.data import Dataset
from diffode.data.points import write_arrays
from diffode.data.rows import some_of_each
from diffode.data.scaling import model_units
from diffode.fields.base import Field
from diffode.files import write_text
from diffode.metrics.panel import Panel
from diffode.runs.evaluation import Evaluation
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample
from diffode.solvers import Solution
from diffode.solvers.status import refusal
from diffode.viz import samples_picture
from diffode.viz.images import is_image

IMAGES, ACROSS = 100, 10  # in a picture, and in it of each class


@dataclass(frozen=True)
class Assessment:
    """Samples of a field, and their figures.

    Attributes:
        solution: the samples, and what they cost.
        solver: how they were drawn.
        evaluation: the figures, beside those of real data and of a Gaussian fit.
        y: the labels that the samples were drawn with, shape (n,), or None.
    """

    solution: Solution
    solver: str
    evaluation: Evaluation
    y: Tensor | None = None

    def picture(self, dataset: Dataset, path: Path | None = None) -> bytes:
        """The PNG of samples: of images 100, or ten of each class, and of points all.

        Arguments:
            dataset: what the field was trained on, shown behind points.
            path: where to write.
        """
        e, y, x = self.evaluation, self.y, model_units(self.solution.x.cpu(), dataset.scaling)
        if is_image(tuple(x.shape[1:])):
            rows = torch.arange(IMAGES) if y is None else some_of_each(y, ACROSS)
            x, y = x[rows[: len(x)]], None if y is None else y[rows]
        how = f"{self.solver}, {self.solution.nfe} evaluations each, seed {e.settings['seed']}"
        picture: bytes = samples_picture(
            x,
            path,
            dataset.train,
            y=y,
            title=f"{e.title}\n{how}; nothing selected",
            names=dataset.class_names or (),
        )
        return picture

    def write(self, path: Path) -> None:
        """Write the figures as JSON, as ``diffode eval`` does."""
        write_text(path, json.dumps(self.evaluation.content(), indent=2) + "\n")


def assess(
    field: Field,
    panel: Panel,
    *,
    title: str,
    checkpoint: str,
    n: int = 2000,
    solver: str = "default",
    seed: int = 0,
    batch: int = 250,
    progress: Callable[[int], None] | None = None,
) -> Assessment:
    """Draw samples and measure them.

    Arguments:
        field: what to sample.
        panel: of the data it was trained on; with labels, samples are drawn with them.
        title: of the table.
        checkpoint: whose averaged weights the field has.
        n: how many samples; as many as the panel takes of them are measured.
        solver: how they are drawn.
        seed: of the samples.
        batch: rows held at once.
        progress: called with the number of samples that are done.

    Raises:
        ValueError: samples that are not finite, none that was finished, or too few of them.
    """
    chosen = solver_for(field, solver, {})
    y = panel.dataset.labels(n) if panel.labels else None
    drawn = sample(field, n, chosen, None, y=y, seed=seed, batch=batch, progress=progress)
    if why := refusal(drawn.status, drawn.nfe_per_row, "samples"):
        raise ValueError(f"{why}; train longer or with a smaller lr")
    settings = {
        "checkpoint": checkpoint,
        "weights": "ema",
        "solver": repr(chosen),
        "nfe": drawn.nfe,
        "shortfall": drawn.shortfall("samples"),
        "seed": seed,
        "labels": y is not None,
    }
    metrics = panel.measure(drawn.x, y)
    by_class = panel.by_class(drawn.x, y)
    evaluation = Evaluation(title, settings, panel, metrics, by_class=by_class)
    return Assessment(drawn, repr(chosen), evaluation, y)


def save_samples(solution: Solution, path: str | Path, y: Tensor | None = None) -> None:
    """Write a .npz file: x, unclipped in the data's units, y and q where there are, and status.

    Arguments:
        solution: the samples.
        path: of the file.
        y: the labels that they were drawn with, shape (n,).
    """
    write_arrays(Path(path), x=solution.x, y=y, q=solution.q, status=solution.status)
