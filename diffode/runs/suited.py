"""What a plan leaves open, chosen by the data and the device: the network's size, steps, batch.

Points want a small network and many steps: on the planar sets (edm, poisson, rectified; three
seeds) 128 x 3 with 1,400 steps is nearer to the data than 512 x 4 with 700, in a third of the
time. Images want many steps of few samples, and on a CPU a narrow network, which has seen more of
them by then: in eight minutes width 16 is nearer to Fashion-MNIST than width 24, docs/images.md.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from diffode.data import Dataset
from diffode.data.levels import Levels
from diffode.data.scaling import data_units
from diffode.devices import choose
from diffode.nn import kind_for
from diffode.recipes import find
from diffode.runs.plan import Plan, filled
from diffode.training.trainer import BATCH, STEPS

FEW = 8  # values in an event, below which it is a point
_IMAGES = {"cpu": {"steps": 5000, "batch": 32}, "cuda": {"steps": 5000, "batch": 128}}
_SIZES = {
    ("unet", "cpu"): {"width": 16},
    ("unet", "cuda"): {"width": 32},
    ("unet2d", "cpu"): {"width": 16},
    ("unet2d", "cuda"): {"width": 32},
    ("dit", "cpu"): {"width": 128, "depth": 4},
    ("dit", "cuda"): {"width": 256, "depth": 8},
}


def suited(plan: Plan, dataset: Dataset) -> Plan:
    """The plan with steps, batch and the network's size chosen where they are open.

    A recipe that states its own steps is left as it is.
    """
    own = "steps" in find(plan.field).training
    device = choose(plan.training["device"]).type
    usual: dict[str, Any] = (
        {} if own else _usual(dataset.event_shape, plan.options["network"], device)
    )
    usual = {"steps": STEPS, "batch": BATCH} | usual
    usual |= _levels(plan, dataset) if "levels" in plan.options else {}
    options, training = filled(plan.options, usual), filled(plan.training, usual)
    return replace(plan, options=options, training=training)


def _levels(plan: Plan, dataset: Dataset) -> dict[str, float | bool]:
    """The levels of tokens by the data, where the plan states no value of them.

    Raises:
        ValueError: columns of whole numbers, each in a unit of its own.
    """
    if plan.options["low"] is not None or plan.options["high"] is not None:
        return {}
    if dataset.scaling is not None and dataset.scaling.width.numel() > 1:
        some = data_units(dataset.train[:1000], dataset.scaling)
        if bool(((some - some.round()).abs() < 1e-3).all()):
            raise ValueError(
                "got whole numbers that were standardised column by column, so that tokens would "
                "be rounded; read them as they are, with --scale none"
            )
    found = Levels.of(dataset.train, plan.options["levels"])
    half = found.step / 2 if found.bins else 0.0
    low, high = found.low - half, found.low + (found.count - 1) * found.step + half
    return {"levels": found.count, "low": low, "high": high, "bins": found.bins}


def _usual(shape: tuple[int, ...], network: str, device: str) -> dict[str, int]:
    """What suits events of a shape; a network of one's own keeps its own sizes."""
    kind = kind_for(shape, network)
    if math.prod(shape) < FEW:
        return {"steps": 1400} | ({"width": 128, "depth": 3} if kind == "mlp" else {})
    if kind in ("unet", "unet2d", "dit") or (kind != "mlp" and kind_for(shape) == "unet"):
        return _IMAGES[device] | _SIZES.get((kind, device), {})
    return {}
