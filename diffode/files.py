"""Files that are whole or absent: written to a temporary name and renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffode.inputs import parse_json, read_text, require_file

__all__ = [
    "is_main_process",
    "read_json",
    "read_text",
    "replacing",
    "require_file",
    "require_writable",
    "write_text",
]


def is_main_process() -> bool:
    """Whether this is the process that writes and prints: the only one, or torchrun's first."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to ``path`` when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """The content of a file that this library wrote.

    Raises:
        ValueError: it is damaged, or no ordinary file.
    """
    content = parse_json(read_text(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged; delete it and run the same command again")
    return content


def require_writable(folder: str | Path) -> Path:
    """Make a folder and prove that files can be written in it.

    Raises:
        ValueError: it cannot be made or written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}.tmp"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(
            f"cannot write to {folder}: {reason.lower()}; choose another output directory"
        ) from None
    return folder
