"""What to say where a TARGET cannot be opened: what it seems to be, and what to give instead."""

from __future__ import annotations

from pathlib import Path

from diffode import registry
from diffode.interop.folders import INDEX
from diffode.options import nearby
from diffode.runs.plan import CONFIG
from diffode.training import checkpoint

_NAMED = 3  # runs of a folder that a message names


def absent(target: str) -> str:
    """Why a TARGET is nothing: neither a path nor code."""
    if registry.is_known("recipe", target):
        return (
            f"{target} is the name of a field, which is trained first: diffode train {target}; "
            f"diffode bench and diffode plot take it as it is, bench as --field {target}"
        )
    near = next((f"did you mean {path!r}? " for path in nearby(target, "runs")), "")
    return (
        f"{target} does not exist; {near}give a run directory, a "
        ".safetensors checkpoint, a folder of diffusers, hf:owner/name, a .pkl of EDM, or code as "
        "file.py:name or package.module:name"
    )


def unopened(path: Path) -> str:
    """Why what is at a path is no TARGET; empty where it may be one."""
    if path.suffix == ".py" and path.is_file():
        return f"{path} is a file of code; name what stands in it, as {path}:NAME"
    if not path.is_dir() or checkpoint.newest(path) is not None:
        return ""
    if (path / CONFIG).is_file() and (path / "checkpoints").is_dir():
        return f"{path} has no checkpoint yet; diffode train --resume {path} goes on with it"
    if (path.parent / INDEX).is_file():
        return f"{path} is a part of the pipeline {path.parent}; give {path.parent}"
    runs = sorted({str(file.parent.parent) for file in path.glob("*/checkpoints/*.safetensors")})
    if runs:
        more = ", ..." if len(runs) > _NAMED else ""
        return f"{path} has no checkpoint; it holds runs: {', '.join(runs[:_NAMED])}{more}"
    return (
        f"{path} has no checkpoint; give a run directory or a .safetensors checkpoint of diffode, "
        f"or the folder of a diffusers pipeline, which has a {INDEX}"
    )
