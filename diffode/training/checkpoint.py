"""Checkpoints: one file of tensors, with the spec that rebuilds the field in its header.

A checkpoint is a safetensors file. Its tensors are named ``model/<parameter>``,
``ema/<parameter>``, ``opt/<phase>/<parameter>/<slot>``, ``extra/<name>``, ``stats/<name>``, where
the data have other units than the model ``scaling/<name>``, and where a flow starts from data
``prior/<name>``; its header holds a JSON spec,
the options of the training, and a digest of everything. No pickle is ever written or read, and
noise is counter-based, so there is no generator state to keep. Names are those without
``torch.compile``, so that compiled and plain objectives read each other's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from diffode.compiled import plain_names
from diffode.data.fingerprint import Split
from diffode.data.scaling import Scaling, same_units
from diffode.data.stats import Stats
from diffode.fields.starting import StartingPoints
from diffode.files import is_main_process
from diffode.inputs import brief, quoted
from diffode.training import container
from diffode.training.container import Damaged
from diffode.training.objective import Objective
from diffode.training.state import idle, named, part, slots, state

NAMES = "step-*.safetensors"
_LATER = {"flip": False, "crop": 0}  # training options that older checkpoints do not state
__all__ = ["Damaged", "file_at", "newest", "read", "save"]


def save(
    objective: Objective,
    path: str | Path,
    *,
    step: int = 0,
    average: nn.Module | None = None,
    optimisers: Mapping[str, Optimizer] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Path:
    """Write an objective to one file; it is whole or absent.

    Arguments:
        objective: what `diffode.build` made.
        path: the file, by custom ``*.safetensors``.
        step: how many training steps it has had.
        average: the moving average of ``objective.averaged``.
        optimisers: by the name of their phase.
        training: what the training depends on, as JSON can hold it.

    Raises:
        ValueError: an objective without a spec (put together by hand).
        OSError: the file cannot be written.
    """
    spec, stats = objective.spec, objective.stats
    if spec is None or stats is None:
        raise ValueError(
            "only an objective made by diffode.build can be saved with its spec; "
            "for a hand-built one save objective.state_dict() and rebuild it yourself"
        )
    tensors = named("model", state(objective))
    tensors |= named("stats", stats.tensors()) | named("extra", objective.extra_state())
    scaling = objective.field.scaling
    if scaling is not None:
        tensors |= named("scaling", scaling.tensors())
    if objective.starting is not None:
        tensors |= named("prior", objective.starting.tensors())
    if average is not None:
        tensors |= named("ema", state(average))
    for phase, optimiser in (optimisers or {}).items():
        tensors |= named(f"opt/{phase}", slots(objective, optimiser))
    header = {
        "recipe": spec.recipe,
        "shape": list(spec.shape),
        "classes": spec.classes,
        "options": dict(spec.options),
        "step": step,
        "idle": {phase: idle(objective, o) for phase, o in (optimisers or {}).items()},
        "training": dict(training or {}),
        **({"code": dict(spec.code)} if spec.code else {}),
        **({"scaling": scaling.kind} if scaling is not None else {}),
    }
    return container.write(Path(path), header, tensors)


def file_at(path: str | Path) -> Path:
    """The checkpoint file at a path: itself, or the newest of a run directory.

    Raises:
        ValueError: no checkpoint there.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
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
    files = sorted((folder / "checkpoints").glob(NAMES))
    return files[-1] if files else None


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a checkpoint file, checked by their digest.

    Raises:
        Damaged: a file whose content is not what was written.
        ValueError: no checkpoint of this package, or one of a later version.
    """
    header, tensors = container.read(path)
    return header, plain_names(tensors)


def opened(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors at a path: a file, or the newest checkpoint of a run directory.

    Raises:
        Damaged: that file is damaged; the newest sound one beside it is named.
        ValueError: nothing there, or no checkpoint.
    """
    file = file_at(path)
    with _naming_a_sound_one(file):
        header, tensors = read(file)
    return header, tensors


def peek(path: Path) -> tuple[dict[str, Any], Stats]:
    """The header of a checkpoint and the statistics of its data; its digest is not checked."""
    with _naming_a_sound_one(path):
        header, tensors = container.read(path, only="stats/")
    return header, stats_of(tensors)


def units(path: Path) -> Scaling | None:
    """The scaling that a checkpoint keeps; its digest is not checked."""
    with _naming_a_sound_one(path):
        return scaling_of(*container.read(path, only="scaling/"))


def starting_points(path: Path) -> StartingPoints | None:
    """The points that a checkpoint's flow starts from; its digest is not checked."""
    with _naming_a_sound_one(path):
        return starting_of(container.read(path, only="prior/")[1])


@contextmanager
def _naming_a_sound_one(file: Path) -> Iterator[None]:
    """Where a checkpoint is damaged, say which of its neighbours is not."""
    try:
        yield
    except Damaged as error:
        for other in sorted(file.parent.glob(NAMES), reverse=True):
            if other != file and _is_sound(other):
                raise Damaged(f"{error}; {other} is sound: give that instead") from None
        raise Damaged(f"{error}; take another copy of the file, or train again") from None


def set_newer_aside(folder: Path, chosen: Path) -> None:
    """Rename the damaged checkpoints of a run that are newer than the chosen one.

    Raises:
        ValueError: a newer one is sound.
    """
    last = f"step-{container.read(chosen, only='stats/')[0]['step']:08d}.safetensors"
    for path in sorted((folder / "checkpoints").glob(NAMES)):
        if path.name > last:
            if _is_sound(path):
                raise ValueError(
                    f"{path} is newer than {chosen.name} and sound; move it away to go on from "
                    "the older one"
                )
            if is_main_process():
                path.rename(path.with_name(f"{path.name}.damaged"))


def _is_sound(path: Path) -> bool:
    try:
        container.read(path)
    except ValueError:
        return False
    return True


def require_same(
    header: dict[str, Any], tensors: Mapping[str, Tensor], objective: Objective
) -> None:
    """Refuse to go on with another recipe's checkpoint, other options or other units.

    A size that older versions left open says nothing here: the tensors do.

    Raises:
        ValueError: the first difference.
    """
    spec = objective.spec
    if spec is None:
        return
    mine = {"recipe": spec.recipe, "shape": list(spec.shape), "classes": spec.classes}
    theirs = {key: header[key] for key in mine}
    mine |= spec.options
    theirs |= {**spec.defaults, **header["options"]}
    open_ = {key for key in spec.chosen if theirs.get(key) is None}
    for key in mine | theirs:
        if key not in open_ and mine.get(key) != theirs.get(key):
            raise ValueError(
                f"the checkpoint has {key} {theirs.get(key)}, the objective {mine.get(key)}"
            )
    before, now = scaling_of(header, tensors), objective.field.scaling
    if not same_units(before, now):
        raise ValueError(
            f"the checkpoint was trained in the units {_told(before)}, not {_told(now)}; read the "
            "data as they were read then (--scale), or start a new run"
        )


def require_training(
    header: Mapping[str, Any], learned: Mapping[str, Any], split: Split | None
) -> None:
    """Refuse to go on on other data, or with other options that decide what is learned.

    Raises:
        ValueError: the first difference, with both values.
    """
    stored = {**_LATER, **header.get("training", {})}
    for key, value in learned.items():
        if key in stored and stored[key] != value:
            raise ValueError(
                f"the checkpoint was trained with {key} {quoted(stored[key])}, not {value}; go on "
                f"with that, or start a new run to change {key}"
            )
    if split is not None and stored.get("data") is not None:
        before = Split(**stored["data"])
        differs = before.differs(split)
        if differs:
            raise ValueError(
                f"the data are not those of the checkpoint: their {differs} changed; then "
                f"{before.rows} rows, {before}; now {split.rows} rows, {split}"
            )


def stats_of(tensors: Mapping[str, Tensor]) -> Stats:
    """The data's statistics in a checkpoint's tensors.

    Raises:
        ValueError: a tensor of them is not there.
    """
    try:
        return Stats.from_tensors(part(tensors, "stats"))
    except KeyError as name:
        raise ValueError(f"the checkpoint has no tensor stats/{name.args[0]}") from None


def scaling_of(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Scaling | None:
    """From the data's units to the model's, in a checkpoint; None where they are the same.

    Raises:
        ValueError: a kind without its tensors or the reverse, or numbers that are no scaling.
    """
    kind, found = header.get("scaling"), part(tensors, "scaling")
    if kind is None and not found:
        return None
    if not isinstance(kind, str) or found.keys() != {"shift", "width"}:
        raise ValueError("the checkpoint's scaling is not whole: a kind, a shift and a width")
    try:
        scaling = Scaling(kind, found["shift"], found["width"])
        scaling.require_fits(header["shape"])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the checkpoint's scaling cannot be used: {error}") from None
    return scaling


def starting_of(tensors: Mapping[str, Tensor]) -> StartingPoints | None:
    """The points that a checkpoint's flow starts from; None where it starts from noise.

    Raises:
        ValueError: tensors that are no such points.
    """
    found = part(tensors, "prior")
    try:
        return StartingPoints.from_tensors(found) if found else None
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint's starting points cannot be used: {error}") from None


def _told(scaling: Scaling | None) -> str:
    return "of the data" if scaling is None else brief(str(scaling))
