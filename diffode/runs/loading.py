"""From a checkpoint to the objective that it holds, with the field in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from diffode import admission
from diffode.nn.own import give_again
from diffode.runs.building import build
from diffode.training import checkpoint
from diffode.training.objective import Objective
from diffode.training.state import fill, load_average

Weights = Literal["ema", "raw"]


def load(
    path: str | Path,
    weights: Weights = "ema",
    *,
    trust: bool = False,
    network: object = None,
) -> Objective:
    """Rebuild the objective of a checkpoint, or of a run's newest one.

    Arguments:
        path: a checkpoint file, or a run directory.
        weights: the moving average, or the raw weights as trained.
        trust: whether the code of a recipe or network that the file names may be run; one that an
            installed package brings, or that ran already in this process, needs no trust.
        network: the network again, where it was given as an object that no name finds. From then
            on this process knows it by the name in the file.

    Raises:
        ValueError: code that may not run, nothing there, or a file that is damaged or not a
            checkpoint of this package.
    """
    header, tensors = checkpoint.opened(path)
    if network is not None:
        give_again(header["options"].get("network"), network)
    objective = _restored(header, tensors, trust)
    if weights == "ema" and objective.averaged is not None:
        load_average(objective.averaged, tensors)
    return objective.eval()


def _restored(header: dict[str, Any], tensors: dict[str, Tensor], trust: bool) -> Objective:
    """The objective of a header, with the raw weights of the tensors.

    Raises:
        ValueError: tensors that do not fit the spec.
    """
    stats, scaling = checkpoint.stats_of(tensors), checkpoint.scaling_of(header, tensors)
    shape, classes = tuple(header["shape"]), header["classes"]
    if tuple(stats.mean.shape) != shape:
        found = tuple(stats.mean.shape)
        raise ValueError(
            f"the checkpoint is of shape {shape}, its statistics are of shape {found}"
        )
    _require_plausible(header, tensors)
    named = {"recipe": header["recipe"], **admission.parts(header["options"])}
    for kind, name in named.items():
        admission.admit(kind, name, str(header.get("code", {}).get(kind, "")), trust=trust)
    options, starting = header["options"], checkpoint.starting_of(tensors)
    about = shape, classes, stats, 0, scaling, starting
    objective = build(header["recipe"], *about, **options)
    fill(objective, tensors)
    return objective


def _require_plausible(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse a spec that asks for a network larger than its tensors, before it is built.

    Raises:
        ValueError: a width, a depth or a number of classes beyond what the file holds.
    """
    shapes = [tensor.shape for name, tensor in tensors.items() if name.startswith("model/")]
    largest = max((max(shape, default=1) for shape in shapes), default=1)
    asked = {"classes": header["classes"], **header["options"]}
    multipliers = str(asked.get("multipliers") or "1").split(",")
    asked["multipliers"] = max((int(k) for k in multipliers if k.isdecimal()), default=1)
    bounds = {"width": largest, "multipliers": largest, "depth": len(shapes), "classes": largest}
    for key, most in bounds.items():
        value = asked.get(key)
        if isinstance(value, int) and value > most:
            raise ValueError(
                f"the checkpoint does not fit its own spec: {key} {value} with tensors for at "
                f"most {most}"
            )
