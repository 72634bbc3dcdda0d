r"""Reflow: a flow that is learned from the pairs of another, and is straighter.

A run's own ODE pairs each noise n with a sample :math:`x_0`. Rectified flow on these pairs in the
place of independent ones regresses the velocity on :math:`n - x_0`: the lines of different pairs
hardly cross, so that the paths are nearly straight, and few steps are enough. The law of its
samples is that of the run's.

Reference: Liu et al. (2022), Flow straight and fast, https://arxiv.org/abs/2209.03003, section 2.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffode.data.points import write_arrays
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.reschedule import rescheduled
from diffode.fields.schedules import Rectified
from diffode.files import read_json, write_text
from diffode.metrics import straightness, straightness_defect
from diffode.options import options_of
from diffode.priors import is_normal
from diffode.recipes.compose import make_given
from diffode.rng import Rng
from diffode.runs.pairs import PAIRS
from diffode.runs.plan import Plan
from diffode.runs.run import require_free
from diffode.runs.shards import draw
from diffode.solvers import Solver, get_solver, grid
from diffode.solvers.status import refusal

RECORD, _PARTS = "reflow.json", "pairs"
_PATHS, _STEPS, _HELD = 1000, 50, 100  # that straightness is measured on, and held at once
_DRAWN = ("flip_label", "flip", "crop")  # what the teacher's samples have in them already


class Bend(NamedTuple):
    """How straight the paths of a flow are: `straightness` and `straightness_defect`."""

    straightness: float
    defect: float


def require_teacher(field: Field) -> AffineField:
    """The field, if its flow can be straightened.

    Raises:
        TypeError: one that does not move normal noise to data along a path.
    """
    if not isinstance(field, AffineField):
        raise TypeError(
            f"got a {type(field).__name__}; reflow straightens the flow of an affine field, as "
            "rectified, vp, ve, ddpm or edm train it"
        )
    if field.decay is not None:
        raise TypeError("got a field with blur, whose path has no straight form; take another run")
    if field.prior is None or not is_normal(field.prior):
        raise TypeError(
            f"got a field whose noise is {field.noise}; a rectified flow starts from normal "
            "noise: reflow takes runs of rectified, vp, subvp, ve, ddpm or edm"
        )
    return field


def noise_of(field: AffineField, n: int, seed: int, y: Tensor | None = None) -> Tensor:
    """The noise at unit scale that samples 0 to n - 1 of this seed start from, (n, *event)."""
    x, prior = field.start(n, Rng(seed), y).x, field.prior
    assert prior is not None
    return (x - prior.loc) / prior.scale


def make_pairs(
    field: AffineField,
    n: int,
    solver: Solver,
    nfe: int | None,
    folder: Path,
    *,
    seed: int = 0,
    y: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Draw n samples of a field and write them with their noise to ``folder``/pairs.npz.

    They are drawn in parts that are kept: what was killed goes on. Several processes draw parts
    side by side, and the first writes the file.

    Arguments:
        field: the teacher, see `require_teacher`.
        n, solver, nfe, seed, y, progress: as for `diffode.runs.shards.draw`.
        folder: of the run to be trained.

    Raises:
        ValueError: samples that are not finite or did not reach their end.
    """
    file, parts = folder / PAIRS, folder / _PARTS
    if file.exists():
        return
    parts.mkdir(parents=True, exist_ok=True)
    drawn = draw(field, n, solver, nfe, parts, seed=seed, y=y, progress=progress)
    if drawn is None:
        return
    if drawn.unfinished or refusal(drawn.status, drawn.nfe_per_row, "pairs"):
        raise ValueError(
            f"{drawn.unfinished} of {n} samples did not reach their end, and a pair needs both "
            "ends; take another solver or more evaluations"
        )
    labels = None if y is None else y.to(field.device)
    write_arrays(file, x=drawn.x, n=noise_of(field, n, seed, labels).float(), y=drawn.y)
    shutil.rmtree(parts)


def bend(field: AffineField, y: Tensor | None = None, seed: int = 0) -> Bend:
    """How straight 1,000 paths of a field are, on the straight clock alpha = 1 - t, sigma = t.

    Every affine flow of normal noise is one on that clock, so runs of any schedule compare.

    Arguments:
        field: whose paths they are.
        y: labels to draw with, of which the first 1,000 are used.
        seed: of the noise that they start from.
    """
    own = field if type(field.schedule) is Rectified else rescheduled(field, Rectified())
    count, total = _PATHS if y is None else min(_PATHS, len(y)), torch.zeros(2).double()
    solver, times = get_solver("heun"), grid(own, _STEPS)
    for rows in torch.arange(count).split(_HELD):  # type: ignore[no-untyped-call]
        labels = None if y is None else y[rows].to(field.device)
        with torch.no_grad():
            x = own.start(len(rows), Rng(seed).rows(rows), labels).x
            path = solver(own, x, times, labels, path=True).path
        assert path is not None
        found = straightness(path).value, straightness_defect(path, times).value
        total += len(rows) / count * torch.tensor(found)
    return Bend(*total.tolist())


def student_plan(teacher: Plan, seed: int, labels: bool, options: Mapping[str, Any]) -> Plan:
    """The plan of the flow that is learned from a teacher's pairs.

    Network and training are the teacher's, as far as nothing else is asked for; a path and what
    was done to its data are its own.

    Arguments:
        teacher: the plan of the run whose pairs they are.
        seed: of the student's weights and the order of the pairs.
        labels: whether the pairs have labels that are trained on.
        options: of recipe and trainer, which are asked for.
    """
    shared = options_of(make_given).model_fields
    usual = {k: v for k, v in teacher.options.items() if k in shared}
    usual = {k: v for k, v in {**usual, **teacher.training}.items() if k not in _DRAWN}
    given = {**usual, **options, "coupling": "pairs"}
    plan = Plan.make("rectified", labels=labels, seed=seed, **given)
    return replace(plan, data=teacher.data, source=teacher.source, reading=teacher.reading)


def begin(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a reflow in a folder, begun now or before.

    Arguments:
        folder: of the run to be trained.
        asked: what decides the pairs, as JSON can hold it.

    Raises:
        ValueError: a folder in which another was begun, or another run.
    """
    path = folder / RECORD
    if not path.exists():
        require_free(folder)
        write_record(folder, asked)
        return dict(asked)
    stored = read_json(path)
    for key, value in asked.items():
        if stored.get(key) != value:
            raise ValueError(
                f"{folder} was begun with {key} {stored.get(key)}, not {value}; give what it was "
                "begun with to go on, or another --out"
            )
    return stored


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what is known of a reflow."""
    write_text(folder / RECORD, json.dumps(dict(record), indent=2) + "\n")
