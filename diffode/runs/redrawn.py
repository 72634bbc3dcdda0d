"""Whether the samples that a run left come out again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from diffode.data.points import read_array
from diffode.files import read_json
from diffode.runs.plan import Plan
from diffode.runs.targets import resolve
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample

BATCH = 250  # rows held at once, as at the end of a training
_SAME, _MOST = 1e-3, 0.9  # of a standard deviation; of the samples
_NAME = re.compile(r"step-[0-9]{8,}|best")


def redrawn(
    folder: Path,
    plan: Plan,
    n: int,
    device: str = "auto",
    trust: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[int, bool | None, str]:
    """Draw the first samples of a run again, and compare.

    They are drawn with the checkpoint, seed and labels that ``quality.json`` and ``samples.npz``
    name. Another processor rounds differently, so they are equal where they differ by less than
    1/1000 of their standard deviation.

    Arguments:
        folder: the run directory.
        plan: of the run.
        n: how many, at most; all where the solver couples rows.
        device, trust: as for `diffode.runs.targets.resolve`.
        progress: called with the number of samples that are drawn.

    Returns:
        How many were drawn, whether they are the same, None if nearly all are, and what to say.

    Raises:
        ValueError: files that cannot be read, or a checkpoint that is there no more.
    """
    about, npz = read_json(folder / "quality.json"), folder / "samples.npz"
    name, seed = str(about.get("checkpoint")), about.get("seed")
    x, y = read_array(npz, "x"), read_array(npz, "y")
    if _NAME.fullmatch(name) is None or type(seed) is not int or x is None or not len(x):
        raise ValueError("quality.json or samples.npz does not say how they were drawn")
    file = folder / "checkpoints" / f"{name}.safetensors"
    if not file.exists():
        raise ValueError(
            f"they are of {name}, whose checkpoint is there no more; diffode train --resume "
            f"{folder} draws those of the newest"
        )
    field = resolve(file, device=device, trust=trust).field
    solver = solver_for(field, plan.solver, {})
    n = len(x) if solver.batch_coupled else min(n, len(x))
    labels = None if y is None else y[:n]
    made = sample(field, n, solver, None, y=labels, seed=seed, batch=BATCH, progress=progress)
    one, two = (v.flatten(1).double() for v in (made.x.cpu(), x[:n]))
    if one.shape != two.shape:
        return n, False, f"they have {two.shape[1]} numbers each, not {one.shape[1]}"
    if one.equal(two):
        return n, True, "they are the same to the bit"
    scale = two[two.isfinite()].std().clamp_min(1e-30)
    apart = ((one - two).abs().amax(1) / scale).nan_to_num(float("inf"))
    same = int((apart <= _SAME).sum())
    if same == n:
        return (
            n,
            True,
            f"they are the same to {float(apart.max()):.1g} of their standard deviation",
        )
    said = f"{same} of {n} are the same to {_SAME:g} of their standard deviation"
    return n, (None if same >= _MOST * n else False), said
