"""The files that a finished training leaves, and a list of their SHA-256 for ``sha256sum -c``."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from diffode.files import read_text, write_text
from diffode.inputs import require_file

RESULTS = ("samples.png", "samples.npz", "quality.json", "report.html")
SUMS = "SHA256SUMS"
_LINE = re.compile(r"(?P<sum>[0-9a-f]{64})  (?P<name>.+)")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes.

    Raises:
        ValueError: no ordinary file.
        OSError: a file that cannot be read.
    """
    with require_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path) -> None:
    """Write the list of a run's results."""
    lines = [f"{sha256(folder / name)}  {name}\n" for name in RESULTS]
    write_text(folder / SUMS, "".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each result in the list of a run; none for runs of earlier versions.

    Raises:
        ValueError: a list that cannot be read.
    """
    path = folder / SUMS
    if not path.exists():
        return {}
    found = [_LINE.fullmatch(line) for line in read_text(path, 2**16).splitlines()]
    sums = {line["name"]: line["sum"] for line in found if line is not None}
    if None in found or sums.keys() != set(RESULTS):
        raise ValueError(f"{path} is not the list that was written")
    return sums
