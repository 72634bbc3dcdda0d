"""Batches that worker processes read are those that are read without them."""

import ast
import multiprocessing
import os
import subprocess
import sys
import time
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
import torch

from diffode import build, train
from diffode.data.source import Source
from diffode.training.batches import Batches, Streamed
from diffode.training.workers import ahead
from tests.quick import quick

EVENT = (3, 4, 4)
LABELS = torch.arange(60) % 3


class File:
    """Rows of a file, read each time."""

    def __init__(self, path):
        self.path, self.shape = str(path), (60, *EVENT)

    def __getitem__(self, index):
        return np.load(self.path)[index]


class Vanishing(File):
    """A file that is gone after some rows were read."""

    def __getitem__(self, index):
        if 17 in index:
            raise FileNotFoundError(f"{self.path} is there no more")
        return super().__getitem__(index)


class Elsewhere(File):
    """Rows that only the process that made them can read."""

    def __init__(self, path):
        super().__init__(path)
        self.process = os.getpid()

    def __getitem__(self, index):
        if os.getpid() != self.process:
            self.fail()
        return super().__getitem__(index)

    def fail(self):
        raise OSError("a handle that was not sent")


class Ending(Elsewhere):
    """Rows that end any other process that reads them."""

    def fail(self):
        os._exit(7)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(60, *EVENT)).astype(np.float32))
    return path


@pytest.fixture(autouse=True)
def none_is_left():
    yield
    assert not multiprocessing.active_children()


def begin(rows, workers, **options):
    objective = build("edm", EVENT, 3, width=8, depth=1)
    options = {"steps": 6, "batch": 32, "device": "cpu", "accumulate": 2, **options}
    return train(objective, (Source(rows), LABELS), workers=workers, **options)


def losses(states):
    return [state.losses for state in states]


@pytest.mark.parametrize("workers", quick([2, 1, 4], 0))
def test_losses_are_the_same_to_the_last_bit(file, workers):
    assert losses(begin(File(file), workers)) == losses(begin(File(file), 0))


def test_a_stopped_run_goes_on_the_same_with_another_number_of_workers(file, tmp_path):
    many = {"steps": 40}  # more than a pipe holds, so that no worker is done when it is stopped
    states = begin(File(file), 2, out=tmp_path / "run", **many)
    first = losses(islice(states, 3))
    assert len(multiprocessing.active_children()) == 2
    states.close()
    assert not multiprocessing.active_children()
    rest = losses(begin(File(file), 1, out=tmp_path / "run", resume=tmp_path / "run", **many))
    assert first + rest == losses(begin(File(file), 0, **many))


def test_an_error_is_the_one_that_there_is_without_workers(file):
    said = []
    for workers in (0, 1):
        with pytest.raises(FileNotFoundError) as error:
            list(begin(Vanishing(file), workers))
        said.append(str(error.value))
    assert said[0] == said[1]


def test_a_number_that_is_not_finite_is_refused(file):
    values = np.load(file)
    values[17, 0, 0, 0] = np.nan
    np.save(file, values)
    with pytest.raises(ValueError, match="not finite"):
        list(begin(File(file), 1))


def test_what_only_this_process_can_read_is_read_here_and_told(file):
    with pytest.warns(UserWarning, match="a handle that was not sent"):
        found = losses(begin(Elsewhere(file), 1))
    assert found == losses(begin(Elsewhere(file), 0))


def test_a_worker_that_died_is_told(file):
    with pytest.raises(ValueError, match=r"exit code 7.*fewer workers"):
        list(begin(Ending(file), 1))


def waiting(end):
    """How many bytes a pipe holds."""
    from fcntl import ioctl
    from termios import FIONREAD

    found = bytearray(4)
    ioctl(end.fileno(), FIONREAD, found)
    return int.from_bytes(found, sys.byteorder)


@pytest.mark.skipif(os.name != "posix", reason="asks a pipe of POSIX what it holds")
def test_a_worker_that_is_killed_while_it_sends_a_batch_is_told(tmp_path):
    """A batch is larger than what a pipe holds, so that the second one is sent in part."""
    rows, large = torch.arange(16), File(tmp_path / "x.npy")
    large.shape = (60, 3, 64, 64)
    np.save(large.path, np.zeros(large.shape, np.float32))
    reading = ahead(Batches(Streamed(Source(large)), 16, 0), [rows], range(100), 1)
    reading.at(0, rows)
    (process,) = multiprocessing.active_children()
    while waiting(reading._ends[0]) < 1000:  # of the batch, behind its length
        time.sleep(0.01)
    process.kill()
    with pytest.raises(ValueError, match=r"exit code -9.*fewer workers"):
        reading.at(1, rows)
    reading.close()


def test_what_cannot_be_sent_is_refused_at_once(file):
    rows = File(file)
    rows.opened = lambda: None
    with pytest.raises(ValueError, match="cannot be sent to other processes"):
        next(begin(rows, 2))


def test_samples_in_memory_start_no_process():
    batches = Batches(Streamed(Source(np.zeros((9, 2)))).rows(slice(None)), 4, 0)
    assert ahead(batches, [torch.arange(4)], range(3), 2) is batches


def test_a_worker_ends_when_nobody_takes_what_it_reads(file):
    batches = Batches(Streamed(Source(File(file))), 16, 0)
    reading = ahead(batches, [torch.arange(16)], range(100), 1)
    reading.at(0, torch.arange(16))
    (process,) = multiprocessing.active_children()
    reading._ends[0].close()  # as when this process is killed
    process.join(60)
    assert process.exitcode == 0
    reading.close()


def test_the_pieces_of_two_processes_are_those_of_one(file):
    batches, rows = Batches(Streamed(Source(File(file)), LABELS), 16, 0), torch.arange(16)
    for mine in (rows[:8], rows[8:]):
        reading = ahead(batches, mine.chunk(2), range(3, 6), 1)
        for step, piece in product(range(3, 6), mine.chunk(2)):
            found, wanted = reading.at(step, piece), batches.at(step, piece)
            assert torch.equal(found.x, wanted.x) and torch.equal(found.y, wanted.y)
        reading.close()


SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
import mine
from diffode import build, code, train
from diffode.data.source import Source

if __name__ == "__main__":
    rows = code.run(code.place({place!r}))({file!r})
    objective = build("edm", (3, 4, 4), width=8, depth=1)
    states = train(objective, Source(rows), steps=3, batch=32, device="cpu", workers=2)
    losses = [state.losses["field"] for state in states]
    sys.stdout.write(f"losses {{losses}}\\n")  # in one piece
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_rows_of_a_file_of_code_are_read_from_a_script_of_several_processes(
    file, tmp_path, processes
):
    (tmp_path / "mine.py").write_text("from tests.test_workers import File\n")
    own = tmp_path / "own.py"
    own.write_text("import mine\n\nclass Rows(mine.File):\n    pass\n")
    script, root = tmp_path / "script.py", Path(__file__).parents[1]
    text = SCRIPT.format(root=str(root), here=str(tmp_path), place=f"{own}:Rows", file=str(file))
    script.write_text(text)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [sys.executable, *launch, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("losses")]
    assert len(lines) == processes
    objective = build("edm", EVENT, width=8, depth=1)
    states = train(objective, Source(File(file)), steps=3, batch=32, device="cpu")
    known = [state.losses["field"] for state in states]
    for line in lines:
        assert ast.literal_eval(line.removeprefix("losses ")) == pytest.approx(known, rel=1e-5)
