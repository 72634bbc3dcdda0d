"""Saved paths of a field, in parts that are whole or absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from diffode.data.npy import load_arrays
from diffode.data.points import write_arrays
from diffode.fields.affine import AffineField
from diffode.fields.flowmap import FlowMap
from diffode.files import read_json, write_text
from diffode.priors import is_student
from diffode.processes import place
from diffode.rng import Rng
from diffode.sampling.drawing import sample
from diffode.sharing import all_of
from diffode.solvers.status import refusal
from diffode.training.jumps import Paths

PART = 1000  # paths in a file
_ABOUT = "paths.json"


@dataclass(frozen=True)
class Drawing:
    """Which paths of a field, and where they are kept.

    Attributes:
        folder: of the parts.
        key: of the field.
        count: how many paths.
        nfe: evaluations of each.
        seed: of their starts.
        y: their labels, shape (count,), or None.
        unlabelled: the share of them that is told no label, the last ones.
    """

    folder: Path
    key: str
    count: int
    nfe: int
    seed: int
    y: Tensor | None = None
    unlabelled: float = 0.0

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The first row of each part, and the one after its last."""
        told = self.count - round(self.unlabelled * self.count)
        ends = sorted({*range(0, self.count, PART), told, self.count})
        return list(pairwise(ends))

    def about(self, solver: str) -> dict[str, object]:
        """What the paths are, for JSON."""
        stated = {"count": self.count, "nfe": self.nfe, "seed": self.seed}
        return {"field": self.key, "solver": solver, **stated, "unlabelled": self.unlabelled}


def saved_paths(
    field: AffineField, drawing: Drawing, progress: Callable[[int], None] | None = None
) -> tuple[Paths, Tensor]:
    """Paths of a field in the state of unit scale, and their angles, shape (K,).

    Those that a folder holds are read, and those that it lacks are drawn, so that a drawing that
    was killed goes on. The processes of a job share them out, and all have all.

    Arguments:
        field: what moves the points.
        drawing: which paths, and where.
        progress: called with the number of paths that are there.

    Raises:
        ValueError: paths of another field or drawing in the folder, a part that is damaged, or
            paths that are not finite.
    """
    heavy = is_student(field.noise) and field.noise.dof <= 8 and field.prior is not None
    bound = field.start(1, Rng(drawing.seed)).field.prior is None
    solver = "heun" if heavy and not bound else "trig"  # whose states share their times
    about, file = drawing.about(solver), drawing.folder / _ABOUT
    if file.exists() and read_json(file) != about:
        raise ValueError(
            f"{drawing.folder} holds paths of another field, number, seed or solver; give what it "
            "was begun with, or another --out"
        )
    write_text(file, json.dumps(about, indent=2) + "\n")
    reader = FlowMap(field)  # it knows the angle
    rank, total = place()
    event, found = tuple(field.event_shape), {}

    def read(first: int, last: int, mine: bool) -> None:
        part = drawing.folder / f"{first:08d}-{last:08d}.npz"
        if mine and not part.exists():
            write_arrays(part, **_drawn(field, reader, drawing, solver, first, last))
        found[first] = _read(part, last - first, event)
        if progress is not None:
            progress(last)

    for first, last in drawing.spans[rank::total]:
        read(first, last, mine=True)
    all_of(None)  # wait for the parts of the other processes
    for first, last in drawing.spans:
        if first not in found:
            read(first, last, mine=False)
    parts = [found[first] for first, _ in drawing.spans]
    path, x = (torch.cat([part[name] for part in parts]) for name in ("states", "x"))
    beside = {
        name: torch.cat([part[name] for part in parts])
        for name in ("y", "told", "q")
        if name in parts[0]
    }
    return Paths(x, path=path, **beside), parts[0]["angles"]


def _drawn(
    field: AffineField, reader: FlowMap, drawing: Drawing, solver: str, first: int, last: int
) -> dict[str, Tensor | None]:
    """The arrays of a part."""
    bounds = drawing.count - round(drawing.unlabelled * drawing.count)
    y = drawing.y[first:last] if drawing.y is not None and first < bounds else None
    found = sample(
        field, last - first, solver, drawing.nfe, seed=drawing.seed, y=y, first=first, path=True
    )
    if why := refusal(found.status, found.nfe_per_row, "paths"):
        raise ValueError(f"{why}; train the run longer")
    assert found.path is not None
    mean, std = field.moments
    states = [
        reader.to_angle(field.from_data(x), t)
        for x, t in zip(found.path[:-1], found.times, strict=False)
    ]
    end = field.from_data(found.x)  # x_0 itself
    states.append((end - mean.to(end)) / std)
    times = found.times[:-1]
    rows = mean.expand(len(times), *mean.shape)
    angles = torch.cat((reader.angle(times, rows).cpu(), torch.zeros(1, dtype=torch.float64)))
    path = torch.stack(states, 1).float()
    labels = None if drawing.y is None else drawing.y[first:last]
    told = None if labels is None else torch.full((last - first,), y is not None)
    arrays = {"states": path, "x": end.float(), "y": labels, "told": told, "q": found.q}
    return {**arrays, "angles": angles}


def _read(path: Path, rows: int, event: tuple[int, ...]) -> dict[str, Tensor]:
    try:
        part = {k: torch.from_numpy(v) for k, v in load_arrays(path).items()}
        whole = part["states"].shape == (rows, len(part["angles"]), *event)
        whole &= part["x"].shape == (rows, *event)
        whole &= all(part[k].shape == (rows,) for k in ("y", "told", "q") if k in part)
    except (KeyError, OSError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"{path} is damaged; delete it and run the same command again")
    return part
