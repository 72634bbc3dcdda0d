"""The file of a checkpoint: named tensors, a JSON header, and a digest of both.

Format 2 holds the SHA-256 of its header and tensors, so that no changed byte goes unnoticed.
Format 1, of earlier versions, had none and is read as it is. ``docs/checkpoints.md`` says how to
read and to check a file without this package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffode.files import replacing, require_file, unwritten

FORMAT = 2
_KEY = "diffode"
_SPEC = {"recipe", "shape", "classes", "options", "step"}
_MOST_NAMES = 32 * 2**20  # bytes of the table of tensors
_MOST_HEADER = 2**20  # characters of our own header


class Damaged(ValueError):
    """A file whose content is not what was written."""


def write(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Write a checkpoint; it is whole or absent.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    full = {"format": FORMAT, **header}
    full["digest"] = digest(full, whole)
    try:
        with replacing(path) as temporary:
            save_file(whole, temporary, metadata={_KEY: json.dumps(full)})
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"cannot write {path}: {unwritten(error)}; earlier checkpoints are untouched: make "
            "room, or permit it, and resume the run"
        ) from None
    return path


def read(path: Path, only: str | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a checkpoint file.

    Arguments:
        path: the file.
        only: the tensors whose names begin so, unchecked; None is all, checked by their digest.

    Raises:
        Damaged: a file that is not what was written.
        ValueError: no checkpoint of this package, or one of a later version.
    """
    from safetensors import SafetensorError, safe_open

    _require_sane(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = [k for k in file.keys() if k.startswith(only or "")]  # noqa: SIM118
            header = _header(path, metadata)
            tensors = {k: file.get_tensor(k) for k in names}
    except (SafetensorError, OSError):
        raise Damaged(f"{path} is damaged or not a safetensors file") from None
    if only is None and _is_changed(header, metadata[_KEY], tensors):
        raise Damaged(f"{path} is damaged: its content does not have the digest in its header")
    return header, tensors


def _is_changed(header: Mapping[str, Any], text: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file with a digest is not what was written; text is the header as it stands."""
    if header["format"] == 1 and "digest" not in header:
        return False
    return json.dumps(header) != text or header.get("digest") != digest(header, tensors)


def digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of a header, without its digest, and of names, types, shapes and values."""
    rest = {k: v for k, v in header.items() if k != "digest"}
    state = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        state.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            state.update(tensor.flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()


def _require_sane(path: Path) -> None:
    """Refuse what is no regular file, or has a table of tensors of absurd size or another end."""
    try:
        with require_file(path).open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            table = file.read(size) if size <= _MOST_NAMES else b""
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise ValueError(f"{path}: {reason}; give a run directory or a checkpoint") from None
    if len(table) != size or not table.rstrip(b" ").endswith(b"}"):
        raise Damaged(f"{path} is damaged or not a safetensors file")


def _is_spec(header: Mapping[str, Any]) -> bool:
    """Whether a header can rebuild an objective."""
    types = {"recipe": str, "shape": list, "options": dict, "step": int}
    return (
        header.keys() >= _SPEC
        and all(type(header[key]) is kind for key, kind in types.items())
        and all(type(n) is int and n > 0 for n in header["shape"])
        and (header["classes"] is None or type(header["classes"]) is int)
        and all(type(header.get(key, {})) is dict for key in ("idle", "training", "code"))
    )


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        text = metadata[_KEY]
        header: dict[str, Any] = json.loads(text) if len(text) <= _MOST_HEADER else {}
        version = header["format"]
        if type(version) is not int or (version in range(1, FORMAT + 1) and not _is_spec(header)):
            raise ValueError
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Damaged(f"{path} is not a diffode checkpoint: its header has no spec") from None
    if version not in range(1, FORMAT + 1):
        raise ValueError(
            f"{path} has checkpoint format {version}, this version reads 1 to {FORMAT}; "
            "use the version of diffode that wrote it"
        )
    return header
