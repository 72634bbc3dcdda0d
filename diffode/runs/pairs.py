"""Pairs of the two ends that a run trains on: in its folder, so that it can go on from there.

The file has arrays x (M, *event), in the units of the data, n of the same shape, the noise at unit
scale that each sample is paired with, and y (M,), their labels, where labels are trained on. Of a
flow that starts from data, n are the starting points, in the units of the data too.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from diffode.data import Dataset
from diffode.data.points import read_array, read_points, write_arrays
from diffode.data.scaling import data_units, model_units
from diffode.fields.base import Field
from diffode.fields.starting import StartingPoints
from diffode.files import is_main_process, replacing
from diffode.runs.plan import Plan
from diffode.training.coupling import Paired
from diffode.training.objective import Objective
from diffode.training.setup import Data
from diffode.warned import warn

PAIRS = "pairs.npz"
Pairs = str | Path | Paired


def training_data(
    plan: Plan, dataset: Dataset, objective: Objective, out: Path | None, pairs: Pairs | None
) -> Data:
    """What an objective is trained on: the data, or pairs, which are kept in the run's folder.

    Arguments:
        plan, dataset, objective: of the run.
        out: its folder, or None.
        pairs: a file or pairs in the units of the model; None for those of the folder.

    Raises:
        ValueError: pairs for another coupling, none where they are needed, or ones that do not
            fit.
    """
    if objective.coupling != "pairs":
        if pairs is not None:
            raise ValueError(
                f"got pairs for coupling={objective.coupling}; take coupling=pairs, as rectified "
                "and interpolant have it"
            )
        return dataset.train, dataset.train_labels if plan.labels else None
    kept = None if out is None else out / PAIRS
    if pairs is None and (kept is None or not kept.exists()):
        raise ValueError(
            "coupling=pairs trains on pairs of samples and noise, and there are none; give "
            "--pairs FILE, or pairs= in Python"
        )
    classes = dataset.classes if plan.labels else None
    if isinstance(pairs, Paired):
        found = replace(
            pairs, x=model_units(data_units(pairs.x, dataset.scaling), dataset.scaling)
        )
    else:
        start = objective.starting
        found = read_pairs(Path(pairs or kept or PAIRS), objective.field, classes, start)
    if pairs is not None and kept is not None and is_main_process() and not kept.exists():
        _keep(pairs, kept, dataset, objective.starting is not None)
    return found


def read_pairs(
    path: Path, field: Field, classes: int | None, starting: StartingPoints | None = None
) -> Paired:
    """The pairs in a file, in the units of a field.

    Arguments:
        path: a .npz file.
        field: whose events and units they are.
        classes: the number of labels, None to leave those of the file out.
        starting: the points that the field's flow starts from; None is standard normal noise.

    Raises:
        ValueError: a file that cannot be read, without noise, or of another shape.
    """
    x, y = read_points(path, field.event_shape, classes, field.scaling, "this field learns")
    n = read_array(path, "n")
    start, law = ("noise", "standard normal") if starting is None else ("start", "the prior data")
    if n is None or n.shape != x.shape:
        got = "no array n" if n is None else f"n of shape {tuple(n.shape)}"
        raise ValueError(
            f"{path}: got {got} beside x of shape {tuple(x.shape)}; wanted the {start} of each "
            f"sample, {law} in the whole"
        )
    n = n.float() if starting is None else model_units(n.float(), field.scaling)
    mean, std = (torch.zeros(()), 1.0) if starting is None else starting.moments
    square = float(((n - mean.to(n)).double() / std).square().mean())
    if not abs(square - 1) < 0.1 + 5 * math.sqrt(2 / n.numel()):
        warn(
            f"{path}: the {start} n has a mean square of {square:.3g}, in units of what sampling "
            f"starts from, {law}, whose is 1: samples will come out wrong"
        )
    return Paired(model_units(x.float(), field.scaling), y, n=n)


def write_pairs(path: Path, pairs: Paired, dataset: Dataset, starts: bool = False) -> None:
    """Write pairs in the units of the model to a file; n too, where they are starting points."""
    n = data_units(pairs.n, dataset.scaling) if starts else pairs.n
    write_arrays(path, x=data_units(pairs.x, dataset.scaling), n=n, y=pairs.y)


def _keep(pairs: Pairs, path: Path, dataset: Dataset, starts: bool) -> None:
    """Write pairs to the folder of a run."""
    if isinstance(pairs, Paired):
        return write_pairs(path, pairs, dataset, starts)
    with replacing(path) as temporary:
        shutil.copyfile(pairs, temporary)
