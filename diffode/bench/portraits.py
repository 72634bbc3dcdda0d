"""What a field looks like by itself: its paths, and how straight they are."""

from __future__ import annotations

import math
from typing import Any

from diffode.bench.stored import Portrait, read_part, write_part
from diffode.bench.untrained import Subject
from diffode.data import Dataset
from diffode.data.scaling import model_units
from diffode.fields.affine import AffineField
from diffode.fields.corruption import Corrupting
from diffode.metrics import straightness
from diffode.sampling.drawing import sample
from diffode.viz import plot_trajectories, shown

ROWS, NFE, DRAWN = 256, 64, 48  # paths measured, evaluations of each, paths drawn
FEWEST, HELD = 16, 2**28  # of large events fewer paths are measured: numbers held together


def portray(model: Subject, dataset: Dataset, drawn: bool) -> dict[str, Any]:
    """The straightness of a model's paths, and for planar data a picture of them: kept once known.

    Arguments:
        model: one that is trained, or taken as it is.
        dataset: its data.
        drawn: draw the picture.
    """
    path = model.folder / "portrait.json"
    picture = model.folder / "paths.png"
    planar = drawn and dataset.event_shape == (2,)
    if not path.exists() or (planar and not picture.exists()):
        field = model.field().eval()
        n = max(FEWEST, min(ROWS, HELD // (NFE * math.prod(field.event_shape))))
        labels = dataset.labels(n) if model.labels and not field.unconditional else None
        nfe, seed = None if field.sampling_defaults is not None else NFE, model.seed
        figure = None
        solution = sample(field, n, nfe=nfe, y=labels, seed=seed, path=True)
        assert solution.path is not None
        states = model_units(solution.path, field.scaling)
        if planar:
            lines = states[:, :DRAWN]
            if isinstance(field, AffineField):
                lines = shown(field, lines, solution.times)
            plot_trajectories(lines, picture)
        # a generator's single step has no path, and the states of a corruption jump
        if len(states) > 2 and not isinstance(field, Corrupting):
            measured = straightness(states)
            figure = [measured.value, measured.stderr]
        write_part(path, {"straightness": figure})
    drawing = f"models/{model.folder.name}/{picture.name}" if picture.exists() else None
    return read_part(path, Portrait) | {"paths": drawing}
