"""What a run was made with: a line for each time that its training began or went on.

The file names no user and no machine. Paths in the command line that lead through the home
directory begin with ~ there.
"""

from __future__ import annotations

import json
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from diffode.devices import choose
from diffode.files import append_text, from_home
from diffode.processes import place
from diffode.runs.costs import machine

HISTORY = "history.jsonl"
KEYS = ("step", "began", "command", "device", "threads", "processes", "versions", "commits")
_LONGEST = 2**16  # bytes of a file of git that is read
_COMMIT = re.compile("[0-9a-f]{40}([0-9a-f]{24})?")


def write(folder: Path, step: int, device: str, deterministic: bool) -> None:
    """Add a line to the history of a run.

    Arguments:
        folder: the run directory.
        step: from which its training goes on; 0 where it begins.
        device, deterministic: as `diffode.train` was given them.
    """
    about = {"step": step, **circumstances(choose(device)), "deterministic": deterministic}
    line = json.dumps(about) + "\n"
    path = folder / HISTORY
    cut = path.is_file() and not path.read_bytes().endswith(b"\n")  # by the end of a process
    append_text(path, "\n" * cut + line)


def read(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the history of a run; none for runs of earlier versions."""
    path, lines = folder / HISTORY, []
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and line.keys() >= set(KEYS):
                lines.append(line)
    return lines


def circumstances(device: torch.device) -> dict[str, Any]:
    """When, by which command, on what and with which versions this process computes."""
    about = machine(device)
    versions = about["versions"] | {
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        versions |= {"cuda": str(torch.version.cuda), "cudnn": str(cudnn)}
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "device": about["device"],
        "threads": about["threads"],
        "processes": place().total,
        "system": platform.system(),
        "versions": versions,
        "commits": {"diffode": commit(Path(__file__)), "directory": commit(Path.cwd())},
    }


def command_line() -> str:
    """The command line of this process, as one could type it again."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return " ".join([name, *(_quoted(from_home(word)) for word in sys.argv[1:])])


def _quoted(word: str) -> str:
    """A word as a shell takes it, which still reads a ~ at its beginning."""
    return "~/" + shlex.quote(word[2:]) if word.startswith("~/") else shlex.quote(word)


def commit(place: Path) -> str | None:
    """The commit that the git checkout around a place is at, or None; git itself is not run.

    Changes since that commit are not looked for.
    """
    place = place.resolve()
    for folder in (place, *place.parents):
        git = folder / ".git"
        if git.exists():
            try:
                return _head(git)
            except (OSError, ValueError):
                return None
    return None


def _head(git: Path) -> str | None:
    """The commit at the HEAD of a .git directory, or of the file that stands for one."""
    if git.is_file():  # of a worktree or a submodule
        git = git.parent / _text(git).removeprefix("gitdir:").strip()
    head = _text(git / "HEAD")
    common = git / _text(git / "commondir") if (git / "commondir").is_file() else git
    if head.startswith("ref:"):
        name = head.removeprefix("ref:").strip()
        if not name.startswith("refs/") or ".." in name:
            return None
        if (common / name).is_file():
            head = _text(common / name)
        else:
            packed = _text(common / "packed-refs", 2**24).splitlines()
            head = next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
    return head if _COMMIT.fullmatch(head) else None


def _text(path: Path, longest: int = _LONGEST) -> str:
    if not path.is_file() or path.stat().st_size > longest:
        raise ValueError(f"{path} is not what git writes")
    return path.read_text(encoding="utf-8").strip()
