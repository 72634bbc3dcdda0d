"""Files that are whole or absent: written to a temporary name and renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import Any

_MOST_TEXT = 64 * 2**20  # bytes of a text file that is read whole


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


def require_file(path: str | Path) -> Path:
    """A path that leads to a regular file; opening a pipe or a device could wait for ever.

    Raises:
        ValueError: something else is there.
        FileNotFoundError: nothing is there.
    """
    path = Path(path)
    if not S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is not a regular file; give the path of a file")
    return path


def read_text(path: str | Path, most: int = _MOST_TEXT) -> str:
    """The text of a file of at most so many bytes.

    Raises:
        ValueError: no regular file, a larger one, or bytes that are not UTF-8.
        OSError: it cannot be read.
    """
    path = require_file(path)
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"{path} has {size:,} bytes, over {most:,}; this is not what was wanted")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file; it may be damaged") from None


def read_json(path: str | Path) -> dict[str, Any]:
    """The content of a file that this library wrote.

    Raises:
        ValueError: it is damaged.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError):
        content = None
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
