"""How a command fails and warns: one line that says what is wrong, whatever was raised."""

from __future__ import annotations

import dis
import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from diffode.code import blamed
from diffode.files import is_main_process
from diffode.inputs import printable
from diffode.sharing import speaks
from diffode.warned import DiffodeWarning

_MOST = 2000  # characters of a message
_ADVICE = {
    errno.ENOSPC: "free some space, then give the same command again",
    errno.EDQUOT: "free some space, then give the same command again",
    errno.EACCES: "check the permissions, or choose another place",
    errno.EPERM: "check the permissions, or choose another place",
    errno.EROFS: "choose another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def fail(message: str) -> int:
    """Say what is wrong in one line, cut in its middle where it is long; the exit code.

    Of several processes the first that fails says it, for the job ends with that.
    """
    if not speaks():
        return 2
    line = printable(" ".join(message[: 4 * _MOST].split()))
    if len(line) > _MOST:
        line = f"{line[: _MOST - 200]} ... {line[-150:]}"
    print(f"error: {line}", file=sys.stderr)
    return 2


_BEYOND = (
    "overflow when unpacking long",
    "storage size calculation overflowed",
    "int too large to convert",
    "int too big to convert",
    "too large to fit into",
    "maximum allowed dimension exceeded",
)


@contextmanager
def quiet_beside_the_first() -> Iterator[None]:
    """Print nothing within, unless this is the first of torchrun's processes, or the only one."""
    if is_main_process():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Say what the package warns of in one line each, on the standard error."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if is_main_process():
            print(f"warning: {printable(' '.join(str(message).split()))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.filterwarnings("default", category=DiffodeWarning)
        warnings.filterwarnings("default", category=UserWarning, module=r"diffode\b")
        warnings.showwarning = show
        yield


def explained(error: BaseException) -> str:
    """What to say of an error: its own sentence, or one about it where it has none.

    The sentences are those that a ``raise`` in this package stated. What Python or another
    library says ("'NoneType' object is not iterable") is quoted in a sentence of ours.
    """
    if _stated_here(error) and str(error):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        advice = _ADVICE.get(error.errno or 0, "check the path")
        return f"{where}{error.strerror.lower()}; {advice}"
    text = " ".join(str(error)[:1000].split())
    if isinstance(error, MemoryError) or _is_full(text):
        return (
            "out of memory; ask for less at once (a smaller batch, fewer samples or points, a "
            "smaller network)"
        )
    if _is_beyond(text):
        return "got a number beyond 2^63, which no machine counts to; ask for less"
    said = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    if place := blamed(error):
        return f"{place} raised {said}"
    return (
        f"this failed in a way that was not foreseen ({said}); set DIFFODE_TRACEBACK=1 to see "
        "where, and check the files and options that were given"
    )


def _stated_here(error: BaseException) -> bool:
    """Whether a raise statement in this package made the error."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "")
    if name.partition(".")[0] != "diffode":
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _is_full(text: str) -> bool:
    """Whether torch says that memory ran out."""
    lower = text.lower()
    return "out of memory" in lower or "can't allocate memory" in lower


def _is_beyond(text: str) -> bool:
    """Whether Python, numpy or torch says that a count does not fit into 64 bits."""
    lower = text.lower()
    return any(said in lower for said in _BEYOND)
