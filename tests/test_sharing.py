"""What a process finds in its environment, and how pieces of work are shared out."""

import signal
import socket
from importlib import import_module
from pathlib import Path

import pytest
import torch

from diffode import processes, sharing
from diffode.cli.app import run
from diffode.sharing import speaks

FIELD = str(Path(__file__).parent / "fixtures" / "format1" / "edm-moons")
TINY = ["--set", "width=8", "--set", "depth=1", "--device", "cpu"]

# --------------------------------------------------------------------------- a wrong environment


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "1"}, "the environment has RANK=1 and no WORLD_SIZE; wanted both"),
        ({"WORLD_SIZE": "2"}, "the environment has no RANK and WORLD_SIZE=2; wanted both"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 and WORLD_SIZE=2; wanted both, RANK below"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x and WORLD_SIZE=2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "without MASTER_ADDR and MASTER_PORT"),
    ],
)
def test_a_wrong_environment_is_told_in_one_line(monkeypatch, capsys, tmp_path, environment, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    given = ["train", "edm", "moons", "--steps", "1", *TINY, "--out", str(tmp_path / "run")]
    assert run(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line


def test_a_port_in_use_is_told_in_one_line(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", **where}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ValueError, match=r"could not meet at .*the port is in use"):
            processes.join()


def test_a_process_that_waits_for_the_others_ends_at_a_signal(monkeypatch):
    """No handler of Python runs while torch waits."""

    def waits(*_, **__):
        found.append(signal.getsignal(signal.SIGTERM))
        raise OSError("nobody came")

    def mine(number, frame):
        raise AssertionError

    found = []
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", **where}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(import_module("torch.distributed.rendezvous"), "rendezvous", waits)
    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(ValueError, match="nobody came"):
            processes.join()
        assert found == [signal.SIG_DFL] and signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("n", [1, 2])
def test_samples_that_are_shared_out_by_smaller_batches_say_so(n, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    out = str(tmp_path / "x.npz")
    assert run(["sample", FIELD, "--samples", str(n), "--out", out]) == 2  # nobody is there
    assert ("--batch 1 shares them out" in capsys.readouterr().err) == (n == 2)


def test_a_torch_that_cannot_connect_processes_is_told(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.distributed.is_gloo_available", lambda: False)
    with pytest.raises(ValueError, match="it has no gloo"):
        processes.join()


def test_one_process_of_torchrun_connects_to_none(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    processes.join()
    assert not torch.distributed.is_initialized()
    assert sharing.agreed(3) == 3


# -------------------------------------------------------------------------------- without torchrun


def test_the_first_to_fail_says_so(tmp_path, monkeypatch):
    """torchrun gives the processes of a machine folders beside each other."""
    said = []
    for rank in "01":
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / rank / "error.json"))
        said.append(speaks())
    assert said == [True, False]


def test_an_error_of_one_share_is_that_of_all(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sharing, "all_of", lambda mine: [mine, ({}, ValueError("of the other"))])
    with sharing.sharing(), pytest.raises(ValueError, match="of the other"):
        sharing.shared([1, 2, 3], lambda piece: piece)

    def broken(piece):
        raise TypeError("my own")

    with sharing.sharing(), pytest.raises(TypeError, match="my own"):
        sharing.shared([1, 2, 3], broken)
    with sharing.sharing(), pytest.raises(UnicodeDecodeError):  # which no text alone makes
        sharing.shared([1, 2, 3], lambda piece: b"\xff".decode("utf-8"))


def test_pieces_are_shared_in_a_block_of_sharing_alone(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    made = []
    assert sharing.shared([0, 1, 2], made.append) == [None] * 3 and made == [0, 1, 2]
    made.clear()
    monkeypatch.setattr(sharing, "all_of", lambda mine: [({0: 0, 2: 2}, None), mine])
    with sharing.sharing():
        assert sharing.shared([0, 1, 2], lambda k: made.append(k) or k) == [0, 1, 2]
    assert made == [1]
    with sharing.sharing(), processes.apart():
        assert sharing.shared([0, 1, 2], lambda k: made.append(k) or k) == [0, 1, 2]
    assert made == [1, 0, 1, 2]


def test_other_errors_are_not_taken_for_a_lost_process(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="size mismatch"), processes.together():
        raise RuntimeError("size mismatch")
    with pytest.raises(processes.Lost), processes.together():
        raise RuntimeError("[x/gloo/transport/tcp/pair.cc:547] Connection closed by peer")
