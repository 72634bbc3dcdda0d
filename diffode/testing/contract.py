"""The checks of the contract: each is a function that raises AssertionError with what it found."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from diffode.doors import needs_labels
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, expand_like
from diffode.fields.turned import by_coordinate
from diffode.rng import Rng
from diffode.runs.loading import load
from diffode.sampling.drawing import sample
from diffode.solvers import get_solver, grid, grids
from diffode.testing.answers import answer
from diffode.testing.findings import Mistake
from diffode.testing.times import explain, rounding, scalar_fails, vector_fails
from diffode.training import checkpoint
from diffode.training.batches import Batch
from diffode.training.objective import Objective


def _points(field: Field, n: int, dtype: torch.dtype = torch.float64) -> tuple[Field, Tensor]:
    """Starting points, and the field that moves them."""
    start = field.start(n, Rng(7))
    return start.field, start.x.to(dtype)


def _middle(field: Field) -> float:
    first, last = field.span
    return (first + last) / 2


def _batch(field: Field) -> int:
    """A batch as large as an event's last axis: silent broadcasting shows there."""
    return max(2, field.event_shape[-1] if field.event_shape[-1] < 64 else 5)


_TYPES = {
    torch.float32: ("a float64 time beside float32 points", "cast it: t.to(x)"),
    torch.float64: (
        "float64 points",
        "cast x to the type of the network, and the velocity back to that of x",
    ),
}


def check_shapes(field: Field) -> None:
    """The velocity has the shape and type of x and is finite, for t of shape () and (B,)."""
    n = _batch(field)
    for dtype in (torch.float32, torch.float64):
        moved, x = _points(field, n, dtype)
        try:
            found = _scalar_and_vector(moved, x, _middle(field))
        except RuntimeError as error:
            if "dtype" not in str(error) and "scalar type" not in str(error):
                raise
            what, advice = _TYPES[dtype]
            words = " ".join(str(error).split())
            raise Mistake("dtype", f"the velocity does not take {what}", words, advice) from error
        for v in found:
            assert v.shape == x.shape, f"velocity has shape {tuple(v.shape)}, x {tuple(x.shape)}"
            assert v.dtype == dtype, f"velocity is {v.dtype} for {dtype} points"
            assert bool(v.isfinite().all()), f"velocity is not finite at t = {_middle(field)}"


def _scalar_and_vector(moved: Field, x: Tensor, middle: float) -> list[Tensor]:
    """The velocity at a t of shape () and of shape (B,); if one fails, the mistake is named."""
    vector = torch.full((len(x),), middle, dtype=torch.float64, device=x.device)
    found: list[Tensor] = []
    failed: list[Exception | None] = []
    for t in (vector[0], vector):
        try:
            v = moved.velocity(x, t)
            assert isinstance(v, Tensor), f"velocity is a {type(v).__name__}, not a tensor"
            found.append(v)
            failed.append(None)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            failed.append(error)
    scalar, batched = failed
    if batched is not None and scalar is None:
        raise vector_fails(x, batched) from batched
    if scalar is not None and batched is None:
        raise scalar_fails(scalar) from scalar
    if scalar is not None:
        raise scalar
    if found[0].shape == x.shape != found[1].shape:
        raise vector_fails(x, f"the velocity then has shape {tuple(found[1].shape)}")
    return found


def check_rows_apart(field: Field) -> None:
    """The velocity acts on each row alone, with a time of its own; rows() selects its values."""
    n = _batch(field)
    moved, x = _points(field, n)
    first, last = field.span
    t = torch.linspace(0.4, 0.6, n, dtype=torch.float64) * (last - first) + first
    whole = moved.velocity(x, t)
    for i in range(n):
        index = torch.tensor([i])
        single = moved.rows(index).velocity(x[index], t[index])
        gap = float((single - whole[index]).abs().max() / whole.abs().max().clamp_min(1e-9))
        if gap >= 1e-5:
            words = f"row {i} alone differs from row {i} in its batch by {gap:.1e}"
            raise explain(moved, x, t, whole, words) or AssertionError(words)


def check_ends(field: Field) -> None:
    """The velocity is finite at both ends of the span."""
    moved, x = _points(field, 3)
    for t in field.span:
        assert bool(moved.velocity(x, t).isfinite().all()), f"velocity is not finite at t = {t}"


def check_seeds(field: Field) -> None:
    """A seed fixes a sample and not its batch."""
    many = sample(field, 6, "heun", steps=4, seed=3).x
    few = sample(field, 6, "heun", steps=4, seed=3, batch=4).x
    scale = many.abs().max().clamp_min(1e-9)
    gap = float((many - few).abs().max() / scale)
    assert gap < 1e-4, f"samples change with the batch by {gap:.1e}"
    starts = [field.start(6, Rng(seed)).x for seed in (3, 4)]  # flows may end at one point
    assert not torch.equal(*starts), "another seed gives the same starts"


def check_round_trip(field: Field) -> None:
    """Integrating to the data and back returns to the start, where the velocity is smooth."""
    if not field.smooth:  # its jumps may bring flows together
        return
    moved, x = _points(field, 3)
    first, last = field.span
    solver, gap = get_solver("rk4"), 1.0
    for steps in (20, 200):  # data much wider than the prior need the finer ones
        if gap >= 1e-3:
            times = torch.linspace(0, 0.1, steps + 1, dtype=torch.float64) * (last - first) + first
            there = solver(moved, x, times).x
            back = solver(moved, there, times.flip(0)).x
            gap = float((back - x).abs().max() / x.abs().max().clamp_min(1e-9))
    assert gap < 1e-3, f"forward and backward miss the start by {gap:.1e}"


def check_repr(field: Field) -> None:
    """The repr states the span."""
    text = repr(field)
    assert f"{field.span[0]:g} -> {field.span[1]:g}" in text, f"no span in {text}"


def check_posterior(field: Field) -> None:
    """An affine field's halves make up x, and its velocity is their rate."""
    moved, x = by_coordinate(*_points(field, 4))
    if not isinstance(moved, AffineField):
        return
    t = torch.tensor(_middle(field), dtype=torch.float64)
    alpha, sigma, d_alpha, d_sigma = (expand_like(v, x) for v in moved.rates(t, x))
    x0, n = moved.posterior(x, t)
    gap = float((alpha * x0 + sigma * n - x).abs().max() / x.abs().max())
    assert gap < 1e-4, f"alpha E[x_0|x] + sigma E[n|x] differs from x by {gap:.1e}"
    rate = d_alpha * x0 + d_sigma * n
    gap = float((moved.velocity(x, t) - rate).abs().max() / rate.abs().max())
    assert gap < 1e-4, f"the velocity differs from d_alpha E[x_0|x] + d_sigma E[n|x] by {gap:.1e}"


def check_grid(field: Field) -> None:
    """Every time grid starts and ends exactly on the span and is monotone."""
    kinds = grids.names() if isinstance(field, AffineField) else ["native"]
    if field.sampling_defaults is not None:
        kinds = [*kinds, "own"]
    for kind in kinds:
        times = grid(field, 9, kind)
        ends = (float(times[0]), float(times[-1]))
        if ends != tuple(map(float, field.span)):
            raise _off_by_one(field, kind, ends)
        steps = times.diff()
        assert bool((steps * steps[0] > 0).all()), f"grid {kind} is not monotone"


def check_time_precision(field: Field) -> None:
    """The velocity follows a float64 time: it does not jump where float16 would."""
    mistake = rounding(field)
    if mistake is not None:
        raise mistake


def _off_by_one(field: Field, kind: str, ends: tuple[float, float]) -> AssertionError:
    """Why a grid does not end where the span does."""
    words = f"grid {kind!r} runs from {ends[0]:g} to {ends[1]:g}, the span is {field.span}"
    if kind != "own" or field.sampling_defaults is None:
        return AssertionError(words)
    steps = [abs(b - a) for a, b in pairwise(field.sampling_defaults.times)]
    missing = [abs(end - s) for end, s in zip(ends, field.span, strict=True)]
    if any(0.3 * min(steps) <= m <= 3 * max(steps) for m in missing):
        advice = "the grid holds both ends of the span: its first time is t_prior, its last t_data"
        return Mistake("off-by-one grid", "the grid is one step off", words, advice)
    return AssertionError(words)


def why_not(check: Callable[[Field], None], field: Field) -> str:
    """Why a check does not apply to a field; empty where it does."""
    if check is check_posterior and not isinstance(field, AffineField):
        return "the field states a velocity alone"
    if check is check_round_trip and not field.smooth:
        return "the velocity is not smooth"
    return ""


CHECKS: tuple[Callable[[Field], None], ...] = (
    check_shapes,
    check_rows_apart,
    check_ends,
    check_seeds,
    check_round_trip,
    check_repr,
    check_posterior,
    check_grid,
    check_time_precision,
)


def check_objective(objective: Objective, x: Tensor | Batch, y: Tensor | None = None) -> list[str]:
    """Run the checks of an objective: gradients reach every parameter, the loss falls, it saves.

    Arguments:
        objective: from `diffode.build`, or your own; it is trained a little.
        x: a few samples, shape (M, *event), or a batch of them.
        y: their labels, if it is trained on labels.

    Raises:
        AssertionError: the first check that fails, with what it found.
    """
    batch = x if isinstance(x, Batch) else Batch(x, y)
    objective.eval()
    _every_parameter_learns(objective, batch)
    _loss_falls(objective, batch)
    found = ["every parameter learns", "the loss falls"]
    if objective.spec is None:
        return found
    _checkpoint_rebuilds(objective)
    return [*found, "a checkpoint rebuilds the field"]


def _every_parameter_learns(objective: Objective, batch: Batch) -> None:
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in trained.items()}
    optimiser = torch.optim.SGD(trained.values(), lr=1e-3)
    seen: dict[str, float] = dict.fromkeys(before, 0.0)
    for step in range(6):  # a last layer that starts at zero hides the others for a step
        for phase in objective.phases():
            loss, _ = objective(phase.name, batch, Rng(1).at(step))
            assert loss.shape == (), (
                f"the loss of phase {phase.name!r} has shape {tuple(loss.shape)}"
            )
            loss.backward()
        for name, p in trained.items():
            assert p.grad is not None, f"no gradient reaches {name}"
            assert bool(p.grad.isfinite().all()), f"the gradient of {name} is not finite"
            seen[name] += float(p.grad.abs().sum())
        optimiser.step()
        optimiser.zero_grad()
    dead = [name for name, total in seen.items() if total == 0]
    assert not dead, f"the gradient of {dead[0]} is always zero"
    with torch.no_grad():
        for name, p in trained.items():
            p.copy_(before[name])


def _loss_falls(objective: Objective, batch: Batch) -> None:
    """On one batch with one draw of the noise, so that a fall is learning and no luck."""
    for phase in objective.phases():
        optimiser = torch.optim.Adam(list(phase.params), lr=3e-3)
        losses = []
        for _ in range(30):
            loss, _ = objective(phase.name, batch, Rng(1))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0], (
            f"the loss of phase {phase.name!r} went from {losses[0]:.4g} to {losses[-1]:.4g} in "
            "30 steps on one batch"
        )


@torch.no_grad()
def _checkpoint_rebuilds(objective: Objective) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint.save(objective, Path(folder) / "field.safetensors")
        again = load(path, weights="raw")
    moved, x = _points(objective.field, 3, torch.float32)
    moved_again, _ = _points(again.field, 3, torch.float32)
    t = _middle(objective.field)
    y = torch.zeros(len(x), dtype=torch.int64) if needs_labels(moved) else None
    same = torch.equal(answer(moved, x, t, y), answer(moved_again, x, t, y))
    assert same, "the field of a checkpoint answers otherwise"
