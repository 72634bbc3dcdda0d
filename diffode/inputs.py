"""Files that are read: sizes first, names inside them as data, and messages that stay short.

What comes from outside may be damaged, larger than any memory, or made to mislead. So a file is
opened only if it is an ordinary one, its size is known before its content, and a name that stands
inside it never leads out of its folder.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
import stat
from pathlib import Path, PurePosixPath
from typing import Any

TEXT = 64 * 2**20  # bytes of a text that is read whole, at most
PLAIN, FACTOR = 256 * 2**20, 100  # bytes that may always be unpacked; beyond: times those packed
LARGEST = 16 * 2**30  # bytes of one array, at most


class _Short(reprlib.Repr):
    """A repr whose length and cost are bounded, whatever the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 2000 else "a number of many digits"


_SHORT = _Short()


def quoted(value: object) -> str:
    """A value as messages show it: its repr, shortened, on one line."""
    return brief(_SHORT.repr(value), 300)


def brief(text: str, most: int = 1000) -> str:
    """A text on one line, printable; of a longer one than ``most`` characters the two ends."""
    if len(text) > 4 * most:
        text = text[: 2 * most] + text[-2 * most :]
    line = printable(" ".join(text.split()))
    half = (most - 5) // 2
    return line if len(line) <= most else f"{line[:half]} ... {line[-half:]}"


def printable(text: str) -> str:
    """A text as it can be shown: a control character, which a terminal obeys, is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def as_place(value: object, wanted: str) -> str | Path:
    """A path or a name, as text or as a path; bytes and None are none.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(value, str | Path) or not str(value):
        raise TypeError(f"got {quoted(value)}; wanted {wanted}")
    return value


def require_file(path: str | Path) -> Path:
    """A path that leads to an ordinary file; opening a pipe or a device could wait for ever.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: something else is there.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"{brief(str(path), 300)}: no such file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {brief(str(path), 300)}: {_reason(error)}") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise ValueError(f"{path} is {kind}; wanted an ordinary file")
    return Path(path)


def read_bytes(path: str | Path, most: int = TEXT) -> bytes:
    """The content of an ordinary file of at most so many bytes.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: a pipe, a device or a folder, too large a file, or one that cannot be read.
    """
    path = require_file(path)
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"{path} has {size:,} bytes; wanted {most:,} at most")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {_reason(error)}") from None


def read_text(path: str | Path, most: int = TEXT) -> str:
    """The text of an ordinary file.

    Raises:
        ValueError: as `read_bytes`, or bytes that are not UTF-8.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text in UTF-8") from None


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401
    """The value of a JSON text; None where it does not parse or is nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def inside(folder: str | Path, name: str) -> Path | None:
    """The ordinary file of that name, as a file names it, in a folder; None where there is none.

    Arguments:
        folder: what the name may not lead out of.
        name: relative, its parts separated by slashes.

    Raises:
        ValueError: a name that leads elsewhere, directly or by a link.
    """
    plain = PurePosixPath(name)
    odd = re.search(r"[\\:\x00-\x1f]", name) or plain.is_absolute()
    if odd or ".." in plain.parts or not plain.parts:
        raise ValueError(
            f"got the file name {quoted(name)}; wanted a name inside {folder}, neither absolute "
            "nor with '..'"
        )
    place = Path(folder)
    for part in plain.parts:
        place = place / part
        if place.is_symlink():
            raise ValueError(f"{place} is a link; wanted an ordinary file inside {folder}")
    try:
        return place if stat.S_ISREG(os.lstat(place).st_mode) else None
    except OSError:
        return None


def file_word(text: str) -> str:
    """A text from outside as part of a file name: letters, digits, spaces and ``._+-`` alone."""
    return re.sub(r"[^\w.+ -]", "-", text)[:80].strip(". ") or "-"


def require_unpacked(what: str, size: int, packed: int) -> None:
    """Refuse what would unpack to more than real data do.

    Arguments:
        what: how the message names it.
        size: bytes once unpacked.
        packed: bytes in the file.

    Raises:
        ValueError: more than 16 GiB, or more than 256 MiB and a hundred times the packed bytes.
    """
    most = min(LARGEST, max(PLAIN, FACTOR * packed))
    if size > most:
        raise ValueError(
            f"{what} would unpack from {packed:,} bytes to {size:,}; wanted {most:,} at most"
        )


def _reason(error: Exception) -> str:
    return ((error.strerror if isinstance(error, OSError) else None) or "no valid name").lower()
