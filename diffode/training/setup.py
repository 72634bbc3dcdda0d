"""What a training needs before its first step: sound data, and a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from diffode.data.source import Samples, Source, require_finite
from diffode.doors import as_labels, as_state
from diffode.training.batches import Batch, Streamed
from diffode.training.coupling import Paired
from diffode.training.objective import Objective

Data = Samples | tuple[Samples, Tensor | None] | Batch


def checked(objective: Objective, data: Data) -> Batch | Streamed:
    """The data in single precision at least, if the objective can learn them.

    Whether the values of a `Source` are finite is looked at when they are read.

    Raises:
        TypeError: data that are not real numbers.
        ValueError: data of another shape, values that are not finite, labels that do not fit, or
            tensors of different lengths.
    """
    samples = _batch(data)
    _require_pairs(objective, samples)
    event = tuple(objective.field.event_shape)
    x: Samples = samples.x if isinstance(samples, Streamed) else as_state(samples.x, name="data")
    if tuple(x.shape[1:]) != event or len(x) == 0:
        raise ValueError(f"got data of shape {tuple(x.shape)}; this field learns (M, {event})")
    if not isinstance(x, Source):
        x = require_finite(x.float() if x.element_size() < 4 else x)
    y = as_labels(samples.y, len(x), name="samples")
    classes = None if objective.spec is None else objective.spec.classes
    if y is None and classes:
        raise ValueError(f"got data without labels; this field learns {classes} classes of them")
    if y is not None and classes:
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= classes:
            raise ValueError(f"got labels {low} to {high}; this field knows 0 to {classes - 1}")
    if isinstance(samples, Streamed) or isinstance(x, Source):
        return replace(samples, y=y)
    if isinstance(samples, Paired):
        return replace(samples, x=x, y=y, n=require_finite(samples.n.to(x)))
    return replace(samples, x=x, y=y)


def _require_pairs(objective: Objective, samples: Batch | Streamed) -> None:
    """Refuse pairs of samples and noise for an objective that takes none, and the reverse.

    Raises:
        ValueError: the one or the other, or noise of another shape than the samples.
        TypeError: noise that is no tensor of real numbers.
    """
    wanted = objective.coupling == "pairs"
    if isinstance(samples, Paired) != wanted:
        got = "no noise beside the samples" if wanted else "samples paired with noise"
        advice = (
            "give Paired(x, n=noise), or train with another coupling"
            if wanted
            else "build the objective with coupling=pairs, as rectified takes it"
        )
        raise ValueError(f"got {got} for coupling={objective.coupling}; {advice}")
    if isinstance(samples, Paired):
        as_state(samples.n, tuple(samples.x.shape[1:]), "noise")


def _batch(data: Data) -> Batch | Streamed:
    """Data in any of their forms as one batch.

    Raises:
        TypeError: a batch of something else than tensors.
        ValueError: a tuple that is no pair, or a tensor with another number of rows.
    """
    if isinstance(data, tuple) and len(data) != 2:
        raise ValueError(f"got a tuple of {len(data)}; wanted data x, or the pair (x, labels)")
    if not isinstance(data, Batch):
        x, y = data if isinstance(data, tuple) else (data, None)
        return Streamed(x, y) if isinstance(x, Source) else Batch(x, y)
    if isinstance(vars(data)["x"], Source):
        raise TypeError(
            f"got a Source as x of a {type(data).__name__}, which holds tensors; wanted its rows, "
            "source[:], or the pair (source, labels) alone"
        )
    for name, value in beside(data).items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise TypeError(f"got {name} of type {kind} beside samples; wanted a tensor")
        if value.ndim == 0 or len(value) != len(data):
            shape = tuple(value.shape)
            raise ValueError(
                f"got {len(data)} samples and {name} of shape {shape}; wanted a row for each"
            )
    return data


def beside(data: Batch | Streamed) -> dict[str, Any]:
    """What samples hold for each of them beside their label, by its name."""
    held = vars(data).items()
    return {name: value for name, value in held if name not in ("x", "y") and value is not None}


def require_pieces(batch: int, pieces: int) -> None:
    """Refuse a global batch that is too small to be shared out.

    Raises:
        ValueError: fewer samples than pieces.
    """
    if batch < pieces:
        raise ValueError(
            f"batch {batch} is less than the {pieces} pieces that it is shared out in, one for "
            "each process and each of accumulate; raise batch"
        )
