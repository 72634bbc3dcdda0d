"""How good a run's samples are, beside what real data and a Gaussian fit would score."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffode.bench.metrics import MOST_COORDINATES, Quality, floor, gaussian_fit, quality
from diffode.data import Dataset
from diffode.fields.base import Field
from diffode.files import replacing, write_text
from diffode.rng import Rng
from diffode.sampling import sample, solver_for
from diffode.solvers import Solution
from diffode.solvers.status import refusal


@dataclass(frozen=True)
class Assessment:
    """Samples of a field, and their figures beside two references.

    Attributes:
        solution: the samples, and what they cost.
        solver: how they were drawn.
        samples: their quality.
        floor: the quality of held-out real data.
        gaussian: the quality of draws of a full-covariance Gaussian fit: nothing learned; None
            where the covariance is too large.
    """

    solution: Solution
    solver: str
    samples: Quality
    floor: Quality
    gaussian: Quality | None

    def rows(self) -> list[tuple[str, Quality]]:
        """The three rows of the table, named."""
        rows = [("samples", self.samples), ("real data (floor)", self.floor)]
        return rows if self.gaussian is None else [*rows, ("Gaussian fit", self.gaussian)]

    def write(self, path: Path) -> None:
        """Write the figures as JSON."""
        figures: dict[str, Any] = {name: q.asdict() for name, q in self.rows()}
        spent = {"name": self.solver, "nfe": self.solution.nfe}
        said = self.solution.shortfall("samples")
        figures["solver"] = spent | ({"shortfall": said} if said else {})
        write_text(path, json.dumps(figures, indent=2) + "\n")


def assess(
    field: Field,
    dataset: Dataset,
    *,
    n: int = 2000,
    solver: str = "default",
    nfe: int | None = None,
    seed: int = 0,
    labels: bool = False,
    batch: int = 250,
    progress: Callable[[int], None] | None = None,
) -> Assessment:
    """Draw samples and measure them against the held-out split.

    Arguments:
        field: what to sample.
        dataset: the data it was trained on.
        n: how many samples.
        solver, nfe: how they are drawn; None is the number of `diffode.sample`.
        seed: of the samples.
        labels: draw each class in its share, as for a field trained on labels.
        batch: rows held at once.
        progress: called with the number of samples that are done.

    Raises:
        ValueError: samples that are not finite, none that was finished, or too few of them.
    """
    if n < 10:
        raise ValueError(f"got n={n}; quality needs at least 10 samples")
    chosen = solver_for(field, solver, {})
    y = dataset.labels(n) if labels else None
    drawn = sample(field, n, chosen, nfe, y=y, seed=seed, batch=batch, progress=progress)
    x = drawn.x.cpu()
    if why := refusal(drawn.status, drawn.nfe_per_row, "samples"):
        raise ValueError(f"{why}; train longer or with a smaller lr")
    train, test = dataset.train, dataset.test
    dim, gaussian = x[0].numel(), None
    if dim <= MOST_COORDINATES:
        noise = Rng(seed).normal("gaussian fit", (n, dim), torch.float64)
        gaussian = quality(gaussian_fit(train, n, noise), train, test)
    return Assessment(
        solution=drawn,
        solver=repr(chosen),
        samples=quality(x, train, test),
        floor=floor(train, test),
        gaussian=gaussian,
    )


def save_samples(solution: Solution, path: str | Path) -> None:
    """Write a .npz file: x, unclipped in the data's range, q where there is one, and status."""
    tensors = {"x": solution.x, "q": solution.q, "status": solution.status}
    arrays = {name: t.cpu().numpy() for name, t in tensors.items() if t is not None}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
