"""What a command leaves, in a form that two runs of it can be held to each other by."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

_OF_THE_RUN = re.compile(r"seconds|^time|^date|began|ended|^host|^pid$|^command|memory")
_ASIDE = {".lock", ".holder.json", "history.jsonl"}  # of each start
_SHOWN = {".html", ".md"}  # they state times, beside figures that stand in a .json too


def temporaries(folder: Path) -> list[str]:
    """The half-written files in a folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob(".*.tmp"))


def left(place: Path) -> dict[str, str]:
    """The digest of each file at a place, apart from times and memory."""
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    found = {}
    for path in files:
        if path.name not in _ASIDE and path.suffix != ".lock":
            found[path.relative_to(place.parent).as_posix()] = _digest(path)
    return found


def newest(found: dict[str, str]) -> dict[str, str]:
    """The same without all but the newest checkpoint of each folder.

    A command that ends by a signal writes one more, so that others are the last few.
    """
    saved = [name for name in found if "/checkpoints/" in name]
    last = {name.rpartition("/")[0]: name for name in sorted(saved)}
    return {k: v for k, v in found.items() if k not in saved or k in last.values()}


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The files that are not the same, or not in both."""
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


def _digest(path: Path) -> str:
    if path.suffix == ".safetensors":
        return _of_arrays(_tensors(path))
    if path.suffix == ".npz":
        with np.load(path) as content:
            return _of_arrays({name: content[name] for name in content.files})
    if path.suffix in (".json", ".jsonl"):
        lines = path.read_text(encoding="utf-8")
        texts = lines.splitlines() if path.suffix == ".jsonl" else [lines]
        return _of_text(json.dumps([_without(json.loads(text)) for text in texts]))
    if path.suffix == ".csv":
        return _of_text(_columns(path.read_text(encoding="utf-8")))
    return "there" if path.suffix in _SHOWN else hashlib.sha256(path.read_bytes()).hexdigest()


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(path)


def _of_arrays(arrays: dict[str, Any]) -> str:
    state = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        state.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return state.hexdigest()


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without(v) for k, v in sorted(value.items()) if not _OF_THE_RUN.search(k)}
    return [_without(v) for v in value] if isinstance(value, list) else value


def _columns(text: str) -> str:
    """A table without the columns that a run has for itself."""
    rows = list(csv.reader(text.splitlines()))
    kept = [k for k, name in enumerate(rows[0]) if not _OF_THE_RUN.search(name)]
    return "\n".join(",".join(row[k] for k in kept if k < len(row)) for row in rows)
