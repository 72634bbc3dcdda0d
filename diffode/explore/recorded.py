"""What a trained field does with some particles, recorded as the numbers of the page."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffode.data.base import Dataset
from diffode.doors import needs_labels
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.corruption import Corrupting
from diffode.sampling import sample
from diffode.solvers import Solution

LEVELS = 48  # between which the page draws paths as straight
POINTS, IMAGES = 500, 16  # particles
_SMALL = 64  # numbers of an image up to which every level is kept
_WHOLE = 32767  # the largest number of 16 bits


def recorded(
    field: Field, dataset: Dataset, name: str, centre: Sequence[float] | None = None
) -> dict[str, Any] | None:
    """The paths of particles of a field, in the frame that follows the cloud.

    An affine field is shown in y = x / alpha, over sqrt(1 + rho^2 / s^2), s the data's standard
    deviation; any other in x itself.

    Arguments:
        field: what moves them.
        dataset: the data that it was trained on; their labels are told to a field that needs some.
        name: of the run.
        centre: what points of the plane are measured from; None is the origin.

    Returns:
        ``bytes`` of 16-bit numbers times ``scale``, by level, particle and coordinate; ``rhos``
        of the levels in units of s, or None; ``count``, ``every``, the levels between two that
        are kept, and ``nfe``. None for a field that moves no points.
    """
    if isinstance(field, Corrupting):
        return None
    image = len(dataset.event_shape) > 1
    every = 1 if math.prod(dataset.event_shape) <= _SMALL else 2
    n = POINTS if not image else IMAGES if every == 1 else 9
    y = dataset.labels(n) if needs_labels(field) else None
    plain = isinstance(field, AffineField) and field.usual == "default" and field.decay is None
    if plain and field.sampling_defaults is None:
        drawn = sample(
            field, n, "heun", steps=LEVELS, y=y, path=True, grid="logsnr", final="none", batch=250
        )
    else:
        drawn = sample(field, n, y=y, path=True, final="none", batch=250)
        plain = False
    assert drawn.path is not None
    path = drawn.path.double().cpu()
    zero = torch.zeros(path.shape[2:], dtype=torch.float64)
    if centre is not None:
        zero = torch.tensor(centre, dtype=torch.float64)
    states, rhos = _followed(field, drawn, zero) if plain else (_even(path) - zero, None)
    kept = states[::every].flatten(1)
    bound = 8 * float(kept[-1].abs().max()) or 1.0
    levels = (kept / bound).clamp(-1, 1).nan_to_num() * _WHOLE
    return {
        "name": name,
        "count": n,
        "every": every,
        "rhos": rhos,
        "nfe": drawn.nfe,
        "scale": bound / _WHOLE,
        "bytes": base64.b64encode(levels.round().to(torch.int16).numpy().tobytes()).decode(),
    }


def _followed(field: Field, drawn: Solution, centre: Tensor) -> tuple[Tensor, list[float]]:
    """Y in units of the data, from their centre, over sqrt(1 + rho^2 / s^2); and rho / s."""
    assert isinstance(field, AffineField) and drawn.path is not None
    alpha, sigma = (v.double().cpu() for v in field.level(drawn.times, drawn.times))
    alpha = alpha.clamp_min(1e-3)  # a path whose alpha reaches 0 begins where y is finite
    rho = sigma / alpha / field.moments[1]
    states = []
    for x, a, r in zip(drawn.path.double().cpu(), alpha, rho, strict=True):
        # x_t in the data's units is S x_t + c; so y there is (S x_t) / alpha + c
        zero = field.to_data(torch.zeros_like(x, dtype=torch.float32), drawn.t_end).double().cpu()
        states.append(((x - zero) / a + zero - centre) / (1 + r * r).sqrt())
    return torch.stack(states), rho.tolist()


def _even(path: Tensor) -> Tensor:
    """As many states as the page has levels, the nearest of a path."""
    index = torch.linspace(0, len(path) - 1, LEVELS + 1).round().long()
    return path[index]
