"""Checkpoints: one file of tensors, with the spec that rebuilds the field in its header.

A checkpoint is a safetensors file. Its tensors are named ``model/<parameter>``,
``ema/<parameter>``, ``opt/<phase>/<parameter>/<slot>``, ``extra/<name>`` and ``stats/<name>``;
its header holds a JSON spec. No pickle is ever written or read, and noise is counter-based, so
there is no generator state to keep. Names are those without ``torch.compile``, so that compiled
and plain objectives read each other's files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diffode.compiled import plain_name, plain_names
from diffode.files import replacing
from diffode.training.objective import Objective
from diffode.training.stats import Stats

FORMAT = 1
_KEY = "diffode"
_SPEC = {"recipe", "shape", "classes", "options", "step"}


def save(
    objective: Objective,
    path: str | Path,
    *,
    step: int = 0,
    average: nn.Module | None = None,
    optimisers: Mapping[str, Optimizer] | None = None,
) -> Path:
    """Write an objective to one file; it is whole or absent.

    Arguments:
        objective: what `diffode.build` made.
        path: the file, by custom ``*.safetensors``.
        step: how many training steps it has had.
        average: the moving average of ``objective.averaged``.
        optimisers: by the name of their phase.

    Raises:
        ValueError: an objective without a spec (put together by hand).
    """
    spec, stats = objective.spec, objective.stats
    if spec is None or stats is None:
        raise ValueError(
            "only an objective made by diffode.build can be saved with its spec; "
            "for a hand-built one save objective.state_dict() and rebuild it yourself"
        )
    tensors = _named("model", _state(objective))
    tensors |= _named("stats", stats.tensors()) | _named("extra", objective.extra_state())
    if average is not None:
        tensors |= _named("ema", _state(average))
    for phase, optimiser in (optimisers or {}).items():
        tensors |= _named(f"opt/{phase}", _slots(objective, optimiser))
    header = {
        "format": FORMAT,
        "recipe": spec.recipe,
        "shape": list(spec.shape),
        "classes": spec.classes,
        "options": dict(spec.options),
        "step": step,
    }
    from safetensors.torch import save_file

    path = Path(path)
    with replacing(path) as temporary:
        whole = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        save_file(whole, temporary, metadata={_KEY: json.dumps(header)})
    return path


def load(path: str | Path, weights: Literal["ema", "raw"] = "ema") -> Objective:
    """Rebuild the objective of a checkpoint, or of a run's newest one.

    Arguments:
        path: a checkpoint file, or a run directory.
        weights: the moving average, or the raw weights as trained.

    Raises:
        ValueError: nothing there, or a file that is damaged or not a checkpoint of this package.
    """
    header, tensors = read(find(path))
    objective = restore(header, tensors)
    if weights == "ema" and objective.averaged is not None:
        load_average(objective.averaged, tensors)
    return objective


def find(path: str | Path) -> Path:
    """The checkpoint file at a path: itself, or the newest of a run directory.

    Raises:
        ValueError: no checkpoint there.
    """
    path = Path(path)
    if path.is_file():
        return path
    last = newest(path)
    if last is None:
        what = "has no checkpoint" if path.is_dir() else "does not exist"
        raise ValueError(
            f"{path} {what}; give a run directory or a .safetensors checkpoint of diffode"
        )
    return last


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of a run directory, if it has one."""
    files = sorted((folder / "checkpoints").glob("step-*.safetensors"))
    return files[-1] if files else None


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a checkpoint file.

    Raises:
        ValueError: a file that is damaged or not a checkpoint of this package.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            tensors = plain_names({k: file.get_tensor(k) for k in names})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file ({error})") from None
    try:
        header: dict[str, Any] = json.loads(metadata[_KEY])
        known = header["format"] == FORMAT
        if known and not header.keys() >= _SPEC:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} is not a diffode checkpoint: its header has no spec") from None
    if not known:
        raise ValueError(
            f"{path} has checkpoint format {header['format']}, this version reads {FORMAT}; "
            "use the version of diffode that wrote it"
        )
    return header, tensors


def restore(header: dict[str, Any], tensors: dict[str, Tensor]) -> Objective:
    """The objective of a header, with the raw weights of the tensors.

    Raises:
        ValueError: tensors that do not fit the spec.
    """
    from diffode.building import build

    try:
        stats = Stats.from_tensors(part(tensors, "stats"))
    except KeyError as name:
        raise ValueError(f"the checkpoint has no tensor stats/{name.args[0]}") from None
    shape, classes = tuple(header["shape"]), header["classes"]
    objective = build(header["recipe"], shape, classes, stats, **header["options"])
    fill(objective, tensors)
    return objective


def require_same(header: dict[str, Any], objective: Objective) -> None:
    """Refuse to go on with another recipe's checkpoint, or with other options.

    Raises:
        ValueError: the first difference.
    """
    spec = objective.spec
    if spec is None:
        return
    mine = {"recipe": spec.recipe, "shape": list(spec.shape), "classes": spec.classes}
    for key, value in (mine | dict(spec.options)).items():
        stored = header[key] if key in mine else header["options"].get(key)
        if stored != value:
            raise ValueError(f"the checkpoint has {key} {stored}, the objective {value}")


def fill(objective: Objective, tensors: dict[str, Tensor]) -> None:
    """Copy a checkpoint's raw weights and further state into an objective.

    Raises:
        ValueError: tensors that do not fit it.
    """
    _copy(_state(objective), part(tensors, "model"), "this objective")
    objective.load_extra_state(part(tensors, "extra"))


def load_average(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy the moving average of a checkpoint, if it has one, into the model's parameters."""
    average = part(tensors, "ema")
    if average:
        _copy(_state(model), average, "the averaged field")


def load_optimiser(
    objective: Objective, optimiser: Optimizer, tensors: dict[str, Tensor], phase: str
) -> None:
    """Put the stored slots of a phase back into its optimiser."""
    stored = part(tensors, f"opt/{phase}")
    for name, parameter in objective.named_parameters():
        slots = part(stored, plain_name(name))
        if slots:
            optimiser.state[parameter] = {
                slot: value if slot == "step" else value.to(parameter)
                for slot, value in slots.items()
            }


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, named without it."""
    start = prefix + "/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _state(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and persistent buffers of a module by name, each tied tensor once."""
    persistent = module.state_dict().keys()
    named = chain(module.named_parameters(), module.named_buffers())
    return plain_names({name: tensor for name, tensor in named if name in persistent})


def _slots(objective: Objective, optimiser: Optimizer) -> dict[str, Tensor]:
    names = {id(p): plain_name(name) for name, p in objective.named_parameters()}
    return {
        f"{names[id(parameter)]}/{slot}": torch.as_tensor(value)
        for parameter, slots in optimiser.state.items()
        for slot, value in slots.items()
        if value is not None
    }


@torch.no_grad()
def _copy(own: dict[str, Tensor], given: dict[str, Tensor], what: str) -> None:
    odd = sorted(own.keys() ^ given.keys())
    odd += [k for k in own if k in given and own[k].shape != given[k].shape]
    if odd:
        raise ValueError(
            f"the checkpoint does not fit {what}: {len(odd)} tensors differ ({odd[0]}, ...)"
        )
    for name, tensor in own.items():
        tensor.copy_(given[name])
