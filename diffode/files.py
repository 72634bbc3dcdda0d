"""Files that are whole or absent: written to a temporary name and renamed."""

from __future__ import annotations

import os
import platform
import re
import time
import zlib
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

_NAMED = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<pid>[0-9]{1,9})\.tmp")
_STARTED = time.time()


def is_main_process() -> bool:
    """Whether this is the process that writes and prints: the only one, or torchrun's first."""
    return os.environ.get("RANK", "0") == "0"


def _temporary(path: Path) -> Path:
    """A name beside a path that tells which process of which machine writes there."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.tmp")


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def sweep(folder: Path) -> None:
    """Delete the temporary files in a folder that dead processes of this machine left."""
    if os.name != "posix" or not folder.is_dir():
        return
    for path in folder.iterdir():
        named = _NAMED.fullmatch(path.name)
        if named and named["machine"] == _machine() and _is_dead(int(named["pid"]), path):
            path.unlink(missing_ok=True)


def _is_dead(pid: int, path: Path) -> bool:
    """Whether the process that began a file has ended; its number may have come to us since."""
    if pid == os.getpid():
        return path.lstat().st_mtime < _STARTED - 1
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to ``path`` when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
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
        probe = _temporary(folder / "writable")
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(
            f"cannot write to {folder}: {reason.lower()}; choose another output directory"
        ) from None
    return folder
