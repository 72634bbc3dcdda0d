"""The two forms of an EDM-format file: as it is published, and converted to a folder."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffode.files import read_text, replacing, require_writable, write_text
from diffode.inputs import parse_json, quoted, read_bytes, require_file
from diffode.interop.edm_options import NETWORKS, PRECONDS, IDDPMPrecond, Precond, UNet
from diffode.interop.edm_pickle import Refused, read_pickle
from diffode.interop.edm_tensors import Storages, class_of, network_tensors, read_part, state_of
from diffode.options import validate

SPEC, WEIGHTS = "edm.json", "model.safetensors"
_FORMAT = 1
_MOST = 16 * 2**30  # bytes of a file: the largest published has 1.2 GB
_MOST_PICKLE = 256 * 2**20  # of the pickle in an archive, which holds no numbers


@dataclass(frozen=True)
class EdmFile:
    """What an EDM-format file holds.

    Attributes:
        kind, precond: the class of the preconditioning, and its options.
        network_kind, network: those of the network.
        tensors: the weights, by their names.
        levels: of improved DDPM, the noise levels of its steps, from the largest on.
    """

    kind: str
    precond: Precond
    network_kind: str
    network: UNet
    tensors: Mapping[str, Tensor]
    levels: Tensor | None = None


def read_file(path: Path) -> EdmFile:
    """What a published file holds: a pickle, or an archive of torch.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no such file, one that asks for more than data, or one that is damaged.
    """
    with require_file(path).open("rb") as file:
        packed = file.read(2) == b"PK"
    try:
        return _from_archive(path) if packed else _read(read_pickle(read_bytes(path, _MOST)))
    except Refused as error:
        raise ValueError(f"{path} is refused: {error}") from None


def _from_archive(path: Path) -> EdmFile:
    """What an archive of ``torch.save`` holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            places = [n for n in archive.namelist() if n.endswith("data.pkl")]
            if len(places) != 1:
                raise Refused("it is no archive of torch")
            folder = places[0].removesuffix("data.pkl")
            order = f"{folder}byteorder"
            if order in archive.namelist() and read_part(archive, order, 16) != b"little":
                raise Refused("its numbers are big-endian")
            root = read_pickle(read_part(archive, places[0], _MOST_PICKLE), stored=True)
            return _read(root, Storages((archive, folder)))
    except Refused:
        raise
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, struct.error):
        raise Refused("it is a damaged archive") from None


def _read(root: object, storages: Storages | None = None) -> EdmFile:
    """What the data of a pickle say."""
    network = root.get("ema") if type(root) is dict else None
    if type(root) is dict and "ema_model" in root:
        raise Refused(
            "it is a checkpoint of torchcfm, which does not say how its network was made; load it "
            "into that network and give this to diffode.interop.from_velocity"
        )
    if network is None:
        raise Refused("it has no 'ema', where EDM keeps the averaged network")
    kind, state = class_of(network), state_of(network)
    if kind not in PRECONDS:
        raise Refused(f"its network is a {quoted(kind)}; known are {', '.join(PRECONDS)}")
    tensors = network_tensors(network, storages or Storages())
    inner = state["_modules"].get("model")
    inner_kind, told = class_of(inner), state_of(inner).get("_init_kwargs")
    stated = state.get("_init_kwargs")
    if type(stated) is not dict or type(told) is not dict:
        raise Refused("it does not say how its network was made")
    if any(_has_arguments(part) for part in (state, state_of(inner))):
        raise Refused("its network was made by options without a name")
    levels = tensors.pop("u", None)
    precond = {f.name: state.get(f.name, stated.get(f.name)) for f in fields(PRECONDS[kind])}
    precond = {key: value for key, value in precond.items() if value is not None}
    return _checked(kind, precond, inner_kind, told, tensors, levels)


def _has_arguments(state: dict[str, Any]) -> bool:
    return state.get("_init_args") not in ((), [], None)


def _checked(
    kind: object,
    precond: Mapping[str, Any],
    inner: object,
    network: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    levels: Tensor | None,
) -> EdmFile:
    """A file's content, its options looked at.

    Raises:
        Refused: options that are unknown, out of range, or at odds.
    """
    if inner not in NETWORKS or kind not in PRECONDS:
        raise Refused(f"its network is a {quoted(inner)}; known are {', '.join(NETWORKS)}")
    assert isinstance(kind, str) and isinstance(inner, str)
    try:
        outer = PRECONDS[kind](**validate(f"its {kind}", precond, PRECONDS[kind]))
        unet = NETWORKS[inner](**validate(f"its {inner}", network, NETWORKS[inner]))
    except ValueError as error:
        raise Refused(str(error)) from None
    outputs = outer.img_channels * (2 if isinstance(outer, IDDPMPrecond) else 1)
    told = (outer.img_resolution, outer.img_channels, outputs, outer.label_dim)
    if told != (unet.img_resolution, unet.in_channels, unet.out_channels, unet.label_dim):
        raise Refused("its network and its preconditioning are of different sizes")
    if isinstance(outer, IDDPMPrecond):
        levels = _chain(levels, outer.M)
    elif levels is not None:
        raise Refused("it has a tensor u, as improved DDPM alone has")
    return EdmFile(kind, outer, inner, unet, tensors, levels)


def _chain(levels: Tensor | None, steps: int) -> Tensor:
    """The noise levels of improved DDPM, without the 0 behind the last."""
    if levels is None or levels.shape not in ((steps + 1,), (steps,)):
        raise Refused(f"it lacks the noise levels u of its {steps} steps")
    levels = levels[:steps]
    if not bool((levels[:-1] > levels[1:]).all() & (levels > 0).all()):
        raise Refused("its noise levels u do not fall")
    return levels


def write_converted(file: EdmFile, out: Path) -> Path:
    """Write a folder of the same content; its spec comes last, so that it is whole or absent.

    Raises:
        FileExistsError: a folder that has something else in it.
    """
    from safetensors.torch import save_file

    if out.exists() and not (out.is_dir() and {p.name for p in out.iterdir()} <= {SPEC, WEIGHTS}):
        raise FileExistsError(f"{out} has something else in it; give a new folder with --out")
    require_writable(out.parent)
    out.mkdir(exist_ok=True)
    tensors = {name: t.contiguous() for name, t in file.tensors.items()}
    if file.levels is not None:
        tensors["u"] = file.levels.contiguous()
    spec = {
        "format": _FORMAT,
        "precond": {"class": file.kind, **_finite(asdict(file.precond))},
        "network": {"class": file.network_kind, **asdict(file.network)},
        "digest": _digest(tensors),
    }
    (out / SPEC).unlink(missing_ok=True)
    with replacing(out / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_text(out / SPEC, json.dumps(spec, indent=1) + "\n")
    return out


def _finite(options: dict[str, Any]) -> dict[str, Any]:
    """Options without those that are infinite, which is what their absence says."""
    return {key: value for key, value in options.items() if value != float("inf")}


def read_converted(folder: Path) -> EdmFile:
    """What such a folder holds.

    Raises:
        ValueError: another folder, or one that is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    spec = parse_json(read_text(folder / SPEC)) if (folder / SPEC).exists() else None
    if not isinstance(spec, dict) or spec.get("format") != _FORMAT:
        raise ValueError(
            f"{folder} has no {SPEC} of format {_FORMAT}; make it with diffode convert FILE"
        )
    try:
        tensors = load_file(require_file(folder / WEIGHTS))
    except (SafetensorError, OSError):
        raise ValueError(f"{folder / WEIGHTS} is damaged or not there; convert again") from None
    if spec.get("digest") != _digest(tensors):
        raise ValueError(f"{folder / WEIGHTS} is damaged: its digest is another; convert again")
    parts = [dict(spec[key]) for key in ("precond", "network") if isinstance(spec.get(key), dict)]
    if len(parts) != 2:
        raise ValueError(f"{folder / SPEC} does not say how its network is made; convert again")
    levels = tensors.pop("u", None)
    outer, inner = (part.pop("class", None) for part in parts)
    try:
        return _checked(outer, parts[0], inner, parts[1], tensors, levels)
    except Refused as error:
        raise ValueError(f"{folder} is refused: {error}") from None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, shapes and values."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        state.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else b"")
    return state.hexdigest()
