"""The processes of one job: which of them this is, and what they do together.

``torchrun`` starts the same command several times, and tells each how many there are
(``WORLD_SIZE``) and which of them it is (``RANK``, from 0). Where neither is stated, the job is
this process alone. Process 0 writes and prints; see `diffode.files.is_main_process`.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # which takes seconds to import
    from torch import Tensor

_MEETING = timedelta(minutes=5)  # for all processes to come, which torchrun starts together
_WORK = timedelta(days=7)  # that one may work while others wait; torchrun sees it if one ends
_LAST = 0.3  # seconds in which a group's threads end what they were about
_APART: ContextVar[bool] = ContextVar("whether the other processes are left out", default=False)


class Lost(ValueError):
    """Another process of the job has ended, or the way to it is broken."""


class Place(NamedTuple):
    """Which process this is, from 0, and how many there are."""

    rank: int
    total: int


def place() -> Place:
    """Which process of the job this is, as ``RANK`` and ``WORLD_SIZE`` say.

    Raises:
        ValueError: one without the other, or numbers that cannot be.
    """
    rank, count = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if _APART.get():
        return Place(0, 1)
    if rank is None and count in (None, "1"):
        return Place(0, 1)
    known = rank is not None and count is not None and rank.isdecimal() and count.isdecimal()
    if not (known and int(rank or 0) < int(count or 0)):
        said = " and ".join(
            f"{name}={os.environ[name][:40]}" if name in os.environ else f"no {name}"
            for name in ("RANK", "WORLD_SIZE")
        )
        raise ValueError(
            f"the environment has {said}; wanted both, RANK below WORLD_SIZE, as torchrun sets "
            "them, or neither for one process"
        )
    return Place(int(rank or 0), int(count or 1))


@contextmanager
def apart() -> Iterator[None]:
    """Within, this process works as if it were the only one."""
    token = _APART.set(True)
    try:
        yield
    finally:
        _APART.reset(token)


def join(cuda: bool = False) -> None:
    """Connect to the other processes of the job, once.

    Arguments:
        cuda: whether tensors on GPUs will be exchanged too.

    Raises:
        ValueError: what is lacking, or why the processes did not meet.
    """
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    me, count = place()
    if count == 1 or (distributed.is_available() and distributed.is_initialized()):
        return
    if not (distributed.is_available() and distributed.is_gloo_available()):
        raise ValueError(
            f"got WORLD_SIZE={count}, but torch {torch.__version__} cannot connect processes (it "
            "has no gloo); run one process"
        )
    cuda = cuda and distributed.is_nccl_available()
    where = [os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT")]
    if None in where:
        raise ValueError(
            f"got WORLD_SIZE={count} without MASTER_ADDR and MASTER_PORT, where the processes "
            "meet; start them with torchrun"
        )
    try:
        with _ended_at_once():
            store, _, _ = next(rendezvous("env://", me, count, timeout=_MEETING))
            backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
            distributed.init_process_group(
                backend, store=store, rank=me, world_size=count, timeout=_WORK
            )
    except (OSError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        used = "EADDRINUSE" in text or "address already in use" in text.lower()
        why = "the port is in use; choose another" if used else text[:200]
        raise ValueError(
            f"the {count} processes could not meet at {where[0]}:{where[1]}: {why}"
        ) from None
    atexit.register(_leave)  # the group's threads must not outlive the interpreter


@contextmanager
def _ended_at_once() -> Iterator[None]:
    """Let SIGTERM end this process within: while it waits in torch, no handler of Python runs.

    torchrun sends it where another process has failed, and would wait 30 seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _leave() -> None:
    """Let the group go, and its threads give back the tensors of the last exchange.

    They need the interpreter for that, and torch aborts where they ask for it once it is ending.
    After a training they outlive the group: `DistributedDataParallel` never lets go of it.
    """
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
        time.sleep(_LAST)


def take_gpu() -> None:
    """Use the GPU that ``LOCAL_RANK`` counts to; the first where it is not stated."""
    import torch

    local = os.environ.get("LOCAL_RANK", "")
    if local.isdecimal() and torch.cuda.is_available():
        torch.cuda.set_device(int(local) % torch.cuda.device_count())


@contextmanager
def together() -> Iterator[None]:
    """Within, tensors go between the processes.

    Raises:
        Lost: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if place().total > 1 and _is_broken(error):
            raise Lost(
                "another process of this job has ended or does not answer, so this one ends too"
            ) from None
        raise


def _is_broken(error: RuntimeError) -> bool:
    """Whether an error is of the connection between processes, and not of what they compute."""
    from torch import distributed

    text = str(error)
    return isinstance(error, distributed.DistError) or any(
        word in text for word in ("gloo/", "Connection closed by peer", "Connection reset by peer")
    )


def mean(x: Tensor) -> Tensor:
    """The mean of a tensor over the processes."""
    from torch import distributed

    count = place().total
    if count == 1:
        return x
    with together():
        distributed.all_reduce(x)
    return x / count


def rows_of_all(x: Tensor) -> Tensor:
    """The rows of all processes, one process after the other; each may have another number."""
    import torch
    from torch import distributed

    count = place().total
    if count == 1 or not distributed.is_initialized():
        return x
    with together():
        lengths = [torch.zeros((), dtype=torch.long, device=x.device) for _ in range(count)]
        distributed.all_gather(lengths, torch.tensor(len(x), device=x.device))
        longest = max(int(n) for n in lengths)
        mine = x.new_zeros(longest, *x.shape[1:])
        mine[: len(x)] = x
        parts = [torch.empty_like(mine) for _ in range(count)]
        distributed.all_gather(parts, mine)
    return torch.cat([part[: int(n)] for part, n in zip(parts, lengths, strict=True)])
