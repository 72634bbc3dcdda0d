"""Linear operators by what ``--operator`` and ``--mask`` say."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from diffode import code
from diffode.data.npy import load_arrays
from diffode.fields.linear import LinearOperator
from diffode.fields.operators import blur, downsample, mask, matrix
from diffode.inputs import brief, quoted
from diffode.options import suggest
from diffode.rng import Rng

Shape = tuple[int, ...]
KINDS = "downsample:FACTOR, blur:PIXELS, mask:MASK, matrix:FILE.npy or mine.py:name"
MASKS = "box:TOP,LEFT,HEIGHT,WIDTH, half:SIDE, random:FRACTION or FILE.npy"
_OF_CODE = "wanted a LinearOperator, or a function of the shape of a point that makes one"
SIDES = ("left", "right", "top", "bottom")


def operator_of(text: str, event: Shape, seed: int = 0) -> LinearOperator:
    """The operator that a text names.

    Arguments:
        text: its kind and, behind a colon, its argument; or the place of code, which is run.
        event: the shape of a point.
        seed: of what is hidden at random.

    Raises:
        ValueError: a text that names none, or an argument that does not fit the points.
        TypeError: code that makes something else.
    """
    kind, _, argument = text.partition(":")
    if kind in _KINDS:
        return _KINDS[kind](argument, event, seed)
    place = code.place(text)
    if place is None:
        hint = suggest(kind, list(_KINDS))
        raise ValueError(f"no operator {quoted(text)}; {hint}wanted {KINDS}")
    made = code.run(place)
    if not isinstance(made, LinearOperator) and callable(made):
        _require_takes_a_shape(made, text)
        made = _made(made, event, text)
    if not isinstance(made, LinearOperator):
        raise TypeError(f"{text} is an object of type {type(made).__name__}; {_OF_CODE}")
    return made


def _made(function: Callable[[Shape], object], event: Shape, text: str) -> object:
    """What code makes of a shape.

    Raises:
        ValueError: it fails.
    """
    try:
        return function(event)
    except Exception as error:  # whatever a user's function raises
        said = brief(f"{type(error).__name__}: {error}", 500)
        said += f" in {place}" if (place := code.blamed(error)) else ""
        raise ValueError(f"{text} failed for the shape {event} ({said}); {_OF_CODE}") from error


def _require_takes_a_shape(made: Callable[..., object], text: str) -> None:
    """Refuse a function or a class that takes other arguments."""
    try:
        signature = inspect.signature(made)
    except ValueError:  # of a builtin that does not say
        return
    try:
        signature.bind(())
    except TypeError:
        raise TypeError(f"{text} takes the arguments {signature}; {_OF_CODE}") from None


def _downsample(text: str, event: Shape, seed: int) -> LinearOperator:
    if not text.isdecimal():
        raise ValueError(f"got downsample:{text}; wanted a whole number, as downsample:2")
    return downsample(event, int(text))


def _blur(text: str, event: Shape, seed: int) -> LinearOperator:
    return blur(event, _number(text, "blur"))


def _matrix(text: str, event: Shape, seed: int) -> LinearOperator:
    return matrix(_array(text, "matrix").double(), event)


def _mask(text: str, event: Shape, seed: int) -> LinearOperator:
    shape, _, argument = text.partition(":")
    hides = _HIDES.get(shape)
    seen = _array(text, "mask") if hides is None else ~hides(argument, event, seed)
    try:
        made = mask(seen, event)
    except ValueError as error:
        raise ValueError(f"mask:{text}: {error}") from None
    if bool(seen.all()):
        raise ValueError(f"mask:{text} hides nothing; wanted one that hides a part")
    return made


def _box(text: str, event: Shape, seed: int) -> Tensor:
    """What a box of images hides, shape (H, W)."""
    height, width = _sides(event, "box")
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"got box:{text}; wanted whole numbers, box:TOP,LEFT,HEIGHT,WIDTH")
    top, left, down, across = map(int, parts)
    if not (0 < down <= height - top and 0 < across <= width - left):
        raise ValueError(f"got box:{text}, which is not inside an image of {height} x {width}")
    hidden = torch.zeros(height, width, dtype=torch.bool)
    hidden[top : top + down, left : left + across] = True
    return hidden


def _half(text: str, event: Shape, seed: int) -> Tensor:
    height, width = _sides(event, "half")
    if text not in SIDES:
        raise ValueError(f"got half:{text}; wanted half:left, right, top or bottom")
    places = {
        "left": f"0,0,{height},{width // 2}",
        "right": f"0,{width - width // 2},{height},{width // 2}",
        "top": f"0,0,{height // 2},{width}",
        "bottom": f"{height - height // 2},0,{height // 2},{width}",
    }
    return _box(places[text], event, seed)


def _random(text: str, event: Shape, seed: int) -> Tensor:
    """Hidden pixels of images, or coordinates of points, so many of them by chance."""
    fraction = _number(text, "random")
    if fraction >= 1:
        raise ValueError(f"got random:{text}; wanted the fraction that is hidden, below 1")
    shape = event[1:] if len(event) == 3 else event
    size = math.prod(shape)
    count = round(fraction * size)
    hidden = torch.zeros(size, dtype=torch.bool)
    hidden[Rng(seed).permutation("mask", size)[:count]] = True
    return hidden.view(shape)


def _sides(event: Shape, shape: str) -> tuple[int, int]:
    if len(event) != 3:
        raise ValueError(
            f"got a mask {shape}, which is of images, for points of shape {event}; give "
            "random:FRACTION or FILE.npy"
        )
    return event[1], event[2]


def _number(text: str, kind: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"got {kind}:{text}; wanted a number above 0, as {kind}:0.7")
    return value


def _array(text: str, kind: str) -> Tensor:
    """The numbers in a file.

    Raises:
        ValueError: no file of one array of finite numbers.
    """
    if not text.endswith((".npy", ".npz")):
        wanted = f"wanted {MASKS}" if kind == "mask" else "wanted a .npy file, matrix:FILE.npy"
        raise ValueError(f"got {kind}:{text}; {wanted}")
    try:
        found = list(load_arrays(Path(text)).values())
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None
    if len(found) != 1 or found[0].dtype.kind not in "biuf" or not found[0].size:
        raise ValueError(f"{text}: wanted one array of numbers")
    value = torch.from_numpy(found[0].astype("float64"))
    if not bool(value.isfinite().all()):
        raise ValueError(f"{text}: got values that are NaN or infinite")
    return value


_KINDS: dict[str, Callable[[str, Shape, int], LinearOperator]] = {
    "downsample": _downsample,
    "blur": _blur,
    "mask": _mask,
    "matrix": _matrix,
}
_HIDES: dict[str, Callable[[str, Shape, int], Tensor]] = {
    "box": _box,
    "half": _half,
    "random": _random,
}
