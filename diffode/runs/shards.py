"""Samples in parts, each a file that is whole or absent.

A draw that was killed goes on with the parts that are missing, and several processes, as
``torchrun`` starts them, draw parts side by side. Sample i depends on the seed and on i alone, and
the parts are the same rows for any number of processes, so that the result is the same too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffode.data.npy import load_arrays
from diffode.data.scaling import model_units
from diffode.fields.base import Field
from diffode.fields.corruption import Corrupting
from diffode.files import replacing
from diffode.metrics.paths import straight
from diffode.processes import place
from diffode.sampling.drawing import sample
from diffode.solvers import Solver
from diffode.solvers.status import DONE, shortfall, with_lost

PART = 250  # samples in a file
_PAUSE = 0.05  # seconds between two looks for the parts of other processes


@dataclass(frozen=True)
class Drawn:
    """Samples put together from their parts.

    Attributes:
        x: the samples, shape (n, *event).
        y: the classes they were drawn with, shape (n,), or None.
        q: the augmented radius of each, for a Poisson flow, or None.
        straight: chord over length of the paths of the first part, or None where paths were not
            kept at three times at least.
        status, nfe_per_row, calls_per_row: of each sample, as in a `diffode.solvers.Solution`.
        seconds: that drawing took, all processes together.
    """

    x: Tensor
    y: Tensor | None
    q: Tensor | None
    straight: Tensor | None
    status: Tensor
    nfe_per_row: Tensor
    calls_per_row: Tensor
    seconds: float

    @property
    def nfe(self) -> float:
        """The evaluations of the field that a sample took, the mean."""
        return float(self.nfe_per_row.double().mean())

    @property
    def network_calls(self) -> float:
        """The calls of the network that a sample took, the mean."""
        return float(self.calls_per_row.double().mean())

    @property
    def unfinished(self) -> int:
        """How many stopped before their end."""
        return int((self.status != DONE).sum())

    def shortfall(self) -> str:
        """One line on the samples that did not reach their end; empty where all did."""
        return shortfall(self.status, self.nfe_per_row, "samples")


def draw(
    field: Field,
    n: int,
    solver: Solver,
    nfe: int | None,
    folder: Path,
    *,
    seed: int = 0,
    y: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Drawn | None:
    """Draw samples into a folder, or those of them that are not there yet.

    Arguments:
        field, solver, nfe, seed: as for `diffode.sample`.
        n: how many samples.
        folder: of the parts; what is in it must come from the same field, solver and seed.
        y: labels, shape (n,).
        progress: called with the number of samples that are there.

    Returns:
        The samples; None on all processes but the first.

    Raises:
        ValueError, TypeError: as `diffode.sample`.
    """
    rank, total = place()
    spans = [(first, min(n, first + PART)) for first in range(0, n, PART)]
    paths = [folder / f"{first:08d}-{last:08d}.npz" for first, last in spans]
    there = 0
    for k in range(rank, len(spans), total):
        if not paths[k].exists():
            (first, last), labels = spans[k], None if y is None else y[slice(*spans[k])]
            _write(paths[k], field, last - first, solver, nfe, seed, labels, first)
        there = _report(paths, spans, progress)
    if rank != 0:
        return None
    while there < n:
        time.sleep(_PAUSE)
        there = _report(paths, spans, progress)
    return _gather(paths, spans)


def _report(
    paths: list[Path], spans: list[tuple[int, int]], progress: Callable[[int], None] | None
) -> int:
    there = sum(b - a for (a, b), p in zip(spans, paths, strict=True) if p.exists())
    if progress is not None:
        progress(there)
    return there


def _write(
    path: Path,
    field: Field,
    n: int,
    solver: Solver,
    nfe: int | None,
    seed: int,
    y: Tensor | None,
    first: int,
) -> None:
    began = time.perf_counter()
    moves = first == 0 and not isinstance(field, Corrupting)  # the states of a corruption jump
    drawn = sample(field, n, solver, nfe, seed=seed, y=y, first=first, path=moves)
    arrays = {"x": drawn.x, "y": y, "q": drawn.q}
    if drawn.path is not None and len(drawn.path) > 2:
        arrays["straight"] = straight(model_units(drawn.path, field.scaling))
    arrays |= {"nfe_per_row": drawn.nfe_per_row, "status": drawn.status}
    arrays |= {"calls_per_row": drawn.calls_per_row}
    known = {k: v.cpu().numpy() for k, v in arrays.items() if v is not None}
    seconds = np.array(time.perf_counter() - began)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, seconds=seconds, **known)  # type: ignore[arg-type]


def _read(path: Path, rows: int) -> dict[str, Tensor]:
    """The arrays of a part, each with its rows."""
    try:
        part = {k: torch.from_numpy(v) for k, v in load_arrays(path).items()}
    except (OSError, TypeError, ValueError):
        raise _damaged(path) from None
    by_row = [v for k, v in part.items() if k != "seconds"]
    whole = part.keys() >= {"x", "nfe_per_row", "status", "seconds"}
    if not whole or part["seconds"].numel() != 1 or any(v.shape[:1] != (rows,) for v in by_row):
        raise _damaged(path)
    return part


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged; delete it and run the same command again")


def _gather(paths: list[Path], spans: list[tuple[int, int]]) -> Drawn:
    parts = [_read(path, last - first) for path, (first, last) in zip(paths, spans, strict=True)]
    for path, part in zip(paths, parts, strict=True):
        kinds = {k: v.shape[1:] for k, v in part.items() if k != "straight"}
        if kinds != {k: v.shape[1:] for k, v in parts[0].items() if k != "straight"}:
            raise _damaged(path)

    def joined(name: str) -> Tensor | None:
        found = [part[name] for part in parts if name in part]
        return torch.cat(found) if found else None

    x, nfe = (torch.cat([part[name] for part in parts]) for name in ("x", "nfe_per_row"))
    calls = joined("calls_per_row")
    return Drawn(
        x=x,
        y=joined("y"),
        q=joined("q"),
        straight=joined("straight"),
        status=with_lost(torch.cat([part["status"] for part in parts]), x),
        nfe_per_row=nfe,
        calls_per_row=nfe if calls is None else calls,  # an older version guided nothing
        seconds=float(sum(float(part["seconds"]) for part in parts)),
    )
