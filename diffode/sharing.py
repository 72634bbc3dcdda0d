"""Work that the processes of a job share out: each does some of it, and all have all of it.

The pieces are the same for any number of processes, and so are the results, to the bit. While a
process works it waits for no other, so that pieces may take different times; once it is done with
its own it waits for the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import fields, is_dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from diffode import processes

Piece = TypeVar("Piece")
Part = TypeVar("Part")
_SHARING: ContextVar[bool] = ContextVar("whether batches are shared out", default=False)


@contextmanager
def sharing() -> Iterator[None]:
    """Within, `diffode.sample`, `encode`, `decode` and `log_prob` share out their batches.

    All processes of the job must make the same calls; each returns all rows.
    """
    token = _SHARING.set(True)
    try:
        yield
    finally:
        _SHARING.reset(token)


def shared(
    pieces: Sequence[Piece], make: Callable[[Piece], Part], device: object = "cpu"
) -> list[Part]:
    """What is made of each piece, in their order.

    In a `sharing` block process r of p makes pieces r, r + p, r + 2 p, ... and gets the others
    from those that made them; elsewhere it makes all.

    Arguments:
        pieces: of the work.
        make: makes the part of a piece; the others' come with tensors on ``device``.

    Raises:
        ValueError, TypeError: what ``make`` raised in any process.
        Lost: another process has ended.
    """
    me, total = processes.place()
    if total == 1 or not _SHARING.get():
        return [make(piece) for piece in pieces]
    mine: dict[int, Any] = {}
    failed: Exception | None = None
    try:
        for k in range(me, len(pieces), total):
            mine[k] = _placed(make(pieces[k]), "cpu")
    except (TypeError, ValueError) as error:
        failed = error
    told = all_of((mine, None if failed is None else _plain(failed)))
    if failed is not None:
        raise failed
    for _, elsewhere in told:
        if elsewhere is not None:
            raise elsewhere
    parts = {k: part for made, _ in told for k, part in made.items()}
    return [_placed(parts[k], device) for k in range(len(pieces))]


def all_of(value: object) -> list[Any]:
    """What each process has, by its rank."""
    from torch import distributed

    processes.join()
    total = processes.place().total
    told: list[Any] = [value] * total
    if total > 1:
        with processes.together():
            distributed.all_gather_object(told, value)
    return told


def agreed(value: Part) -> Part:
    """The value of process 0, in all of them; waits until they have come so far."""
    first: Part = all_of(value)[0]
    return first


@contextmanager
def divided() -> Iterator[Iterator[bool]]:
    """Within, each process does some of the work, as if it were alone; then all wait for all.

    The iterator says of one piece after the other, the same pieces in each process, whether this
    process does it.
    """
    me, total = processes.place()
    with processes.apart():
        yield cycle(k == me for k in range(total))
    all_of(None)


@contextmanager
def one_before_the_others() -> Iterator[None]:
    """Within, process 0 is alone; when it is done the others follow."""
    first = processes.place().rank == 0
    if not first:
        all_of(None)
    with processes.apart():
        yield
    if first:
        all_of(None)


def _plain(error: Exception) -> Exception:
    """An error of the builtin kind: others may not be made from a text or not be sent."""
    return TypeError(str(error)) if isinstance(error, TypeError) else ValueError(str(error))


def _placed(value: Any, device: object) -> Any:  # noqa: ANN401  # any part
    """A part with its tensors on a device."""
    if hasattr(value, "to") and hasattr(value, "device"):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        held = {f.name: _placed(getattr(value, f.name), device) for f in fields(value) if f.init}
        return replace(value, **held)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_placed(v, device) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(_placed(v, device) for v in value)
    return value


def speaks() -> bool:
    """Whether this process is the one that says why the job ends: the first that asks.

    Among the processes of one machine; torchrun gives these a folder together.
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        return True
    with suppress(OSError):
        try:
            os.close(os.open(Path(file).parents[1] / "said", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
    return True
