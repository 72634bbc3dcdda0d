"""Batches that are read ahead, by processes of their own.

Worker k of W reads the batches number k, k + W, ... of those that this process will ask for, each
from the same call as without workers, and waits with one in its hands until it is taken. So what a
step sees is the same with any number of workers.

Workers are new Python processes (*spawn*): a copy of this one (*fork*) would have the locks of
threads that it does not have. So samples must be such that pickle can send them, and a script that
trains with workers does so below ``if __name__ == "__main__":``, since a worker imports it. They
outlive no training: they end where it ends, fails, is closed, interrupted or killed.
"""

from __future__ import annotations

import itertools
import pickle
import signal
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import Tensor

from diffode import code
from diffode.training.batches import Batch, Batches, Streamed
from diffode.warned import warn


def ahead(batches: Batches, pieces: Sequence[Tensor], ticks: range, workers: int) -> Batches:
    """The same batches, read by workers where there are any and the samples are not in memory.

    Arguments:
        batches: what is read.
        pieces: the rows that each step will ask for, in turn.
        ticks: the steps.
        workers: how many.

    Raises:
        ValueError: samples that cannot be sent to another process.
    """
    if not workers or not isinstance(batches.samples, Streamed):
        return batches
    try:
        sent = pickle.dumps((batches, [piece.tolist() for piece in pieces], ticks))
    except Exception as error:  # pickle passes on whatever a user's class raises
        raise ValueError(
            f"got workers={workers}, but the samples cannot be sent to other processes ({error}); "
            "define what holds them at the top of a module, or take workers=0"
        ) from None
    return _Ahead(batches, sent, min(workers, len(pieces) * len(ticks)))


class _Ahead(Batches):
    """Batches from workers, to be asked for in the order that was stated."""

    def __init__(self, batches: Batches, sent: bytes, workers: int) -> None:
        super().__init__(batches.samples, batches.size, batches.seed, batches.transform)
        self._sent, self._workers = sent, workers
        self._turns, self._warned = itertools.cycle(range(workers)), False
        self._ends: list[Connection] = []
        self._processes: list[BaseProcess] = []

    def _start(self) -> None:
        """Start the workers: each is to see the end of its pipe when this process is no more."""
        context = get_context("spawn")
        for k in range(self._workers):
            end, other = context.Pipe(duplex=False)
            self._ends.append(end)
            args = (other, code.files(), self._sent, k, self._workers)
            process = context.Process(target=_work, args=args, daemon=True)
            process.start()
            self._processes.append(process)
            other.close()

    def read(self, step: int, rows: Tensor, device: torch.device | None = None) -> Batch:
        """The samples of these rows of the step's global batch, on a device.

        What a worker could not read is read here, where its error has its place.

        Raises:
            ValueError: a worker that is there no more.
        """
        if not self._processes:
            self._start()
        k = next(self._turns)
        try:
            found = self._ends[k].recv()
        except (EOFError, OSError):  # at a batch's end, or within one
            raise ValueError(_lost(self._processes[k])) from None
        if not isinstance(found, str):
            where = device or "cpu"
            return Batch(**{name: torch.from_numpy(v).to(where) for name, v in found.items()})
        batch = super().read(step, rows, device)
        if not self._warned:
            warn(f"a worker could not read what could be read: {found}")
        self._warned = True
        return batch

    def close(self) -> None:
        """End the workers, which have nothing to lose."""
        for process in self._processes:
            process.kill()
            process.join()
        for end in self._ends:
            end.close()


def _lost(process: BaseProcess) -> str:
    process.join()
    return (
        f"a process that reads data ended (exit code {process.exitcode}): memory may have run "
        "out, or it could not import the script, which must train below "
        'if __name__ == "__main__"; take fewer workers, or none'
    )


def _work(
    end: Connection, files: Mapping[Path, str], sent: bytes, first: int, workers: int
) -> None:
    """Read every so many batches and hand them over, until nobody takes them."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # for the training to answer
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        code.run_again(files)
        batches, pieces, ticks = pickle.loads(sent)
        for tick, piece in itertools.islice(
            itertools.product(ticks, pieces), first, None, workers
        ):
            end.send(_read(batches, tick, piece))
    except BrokenPipeError:
        return


def _read(batches: Batches, tick: int, piece: list[int]) -> dict[str, object] | str:
    """The arrays of a batch, or the error that reading it raised."""
    try:
        batch = batches.read(tick, torch.tensor(piece))
    except Exception as error:  # a source of the user's own may raise anything
        return f"{type(error).__name__}: {error}"
    return {name: v.numpy() for name, v in vars(batch).items() if v is not None}
