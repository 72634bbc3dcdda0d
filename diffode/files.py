"""Files that are whole or absent: written to a temporary name and renamed."""

from __future__ import annotations

import errno
import functools
import os
import platform
import re
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from diffode.inputs import brief, parse_json, quoted, read_text, require_file
from diffode.processes import place

__all__ = [
    "append_text",
    "from_home",
    "is_main_process",
    "read_json",
    "read_text",
    "replacing",
    "replacing_folder",
    "require_file",
    "require_place",
    "require_writable",
    "to_home",
    "write_text",
]

_NAMED = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<pid>[0-9]{1,9})\.tmp", re.DOTALL)
_WRITTEN: list[str] = []  # the temporary names that this process is writing to


def is_main_process() -> bool:
    """Whether this is the process that writes and prints: the only one, or torchrun's first."""
    return place().rank == 0


def _temporary(path: Path) -> Path:
    """A name beside a path that tells which process of which machine writes there."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.tmp")


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def sweep(folder: Path) -> None:
    """Delete what dead processes of this machine left in a folder: temporary files and folders."""
    if os.name != "posix":
        return
    with suppress(OSError):  # a folder that is not there or cannot be read, another user's file
        for path in list(folder.iterdir()):
            named = _NAMED.fullmatch(path.name)
            if named and named["machine"] == _machine() and _is_dead(int(named["pid"]), path):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        path.unlink()


@functools.cache
def _swept(folder: Path, process: int) -> None:
    """Sweep a folder before the first file that a process writes there."""
    sweep(folder)


def _is_dead(pid: int, path: Path) -> bool:
    """Whether the process that began a file has ended; its number may have come to us since."""
    if pid == os.getpid():
        return path.name not in _WRITTEN
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@contextmanager
def _written(temporary: Path) -> Iterator[None]:
    """Know of a temporary name, while something is written to it, that it is in use."""
    _WRITTEN.append(temporary.name)
    try:
        yield
    finally:
        _WRITTEN.remove(temporary.name)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to ``path`` when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _swept(path.parent.absolute(), os.getpid())
    temporary = _temporary(path)
    with _written(temporary):
        try:
            temporary.touch()  # with the permissions of any new file, whoever writes it
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(stat.S_IMODE(mode))
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Give a new folder beside a path; rename it to ``path`` when the block succeeds.

    Raises:
        ValueError: something is there already or comes to be there, or a name with line breaks or
            other control characters.
    """
    path = Path(path)
    if not path.name.isprintable():
        raise ValueError(f"got the folder name {quoted(path.name)}; wanted printable characters")
    taken = ValueError(f"{path} is there already; give another name, or move it away")
    if path.exists() or path.is_symlink():
        raise taken
    require_writable(path.parent)
    temporary = _temporary(path)
    with _written(temporary):
        try:
            temporary.mkdir()
        except FileExistsError:
            raise ValueError(
                f"{path} is being written by another thread; give another name"
            ) from None
        try:
            yield temporary
            for file in filter(Path.is_file, temporary.rglob("*")):
                with file.open("rb") as open_:
                    os.fsync(open_.fileno())
            try:
                temporary.rename(path)
            except OSError:
                if path.exists():  # another process was faster
                    raise taken from None
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_text(path: str | Path, text: str) -> None:
    """Add to a text file, or begin it; a pipe could wait for ever, and a link leads elsewhere.

    Raises:
        ValueError: something other than an ordinary file is there.
    """
    odd = ValueError(f"{path} is no ordinary file any more; move it away, and resume the run")
    others = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK"))
    try:
        number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | sum(others), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise odd from None
        raise
    with open(number, "w", encoding="utf-8") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise odd
        file.write(text)


def read_json(path: str | Path) -> dict[str, Any]:
    """The content of a file that this library wrote.

    Raises:
        ValueError: it is damaged, or no ordinary file.
    """
    content = parse_json(read_text(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged; delete it and run the same command again")
    return content


def unwritten(error: Exception) -> str:
    """Why a file could not be written: the system's words, which safetensors hands on."""
    said = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
    return brief(said.partition(" (os error")[0], 200)


def require_place(path: str | Path) -> None:
    """Prove that a file can be written at a path, and leave no trace of that.

    Raises:
        ValueError: a folder is there, or no file of that name can be written.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise ValueError(f"{brief(str(path), 300)} is a folder; wanted the name of a file")
    missing = [folder for folder in path.parents if not os.path.exists(folder)]
    try:
        _prove(_temporary(path))
    except OSError as error:
        stops = [f for f in path.parents if os.path.exists(f) and not os.path.isdir(f)]
        why = f"{brief(str(stops[0]), 300)} is a file" if stops else _reason(error)
        raise ValueError(
            f"cannot write {brief(str(path), 300)}: {why}; give another name"
        ) from None
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def require_writable(folder: str | Path) -> Path:
    """Make a folder and prove that files can be written in it; half-written ones are swept away.

    Raises:
        ValueError: it cannot be made or written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        _prove(_temporary(folder / "writable"))
    except OSError as error:
        raise ValueError(
            f"cannot write to {folder}: {_reason(error)}; choose another output directory"
        ) from None
    return folder


def _prove(probe: Path) -> None:
    """Write an empty file and delete it; its folder is made."""
    probe.parent.mkdir(parents=True, exist_ok=True)
    with _written(probe):
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def from_home(text: str) -> str:
    """A path, or an argument with one, in which the home directory is called ~."""
    home = os.path.expanduser("~")
    return text if len(home) < 2 else re.sub(rf"(?<![^=:]){re.escape(home)}(?=[/\\]|$)", "~", text)


def to_home(text: str) -> str:
    """What `from_home` was given: a path that begins with ~ is below the home directory."""
    return os.path.expanduser(text) if re.match(r"~[/\\]", text) else text
