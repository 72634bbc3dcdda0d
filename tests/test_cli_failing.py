"""What a command says of an error that nobody foresaw: one line, exit code 2, no traceback."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from diffode.cli import app
from diffode.cli.failing import explained, fail
from diffode.cli.signals import Stop
from diffode.inputs import quoted
from diffode.training.checkpoint import file_at

ERRORS = {
    "key": lambda: {}["solver"],
    "index": lambda: [][0],
    "attribute": lambda: None.size,
    "overflow": lambda: int(float("inf")),
    "none": lambda: list(None),
    "json": lambda: __import__("json").loads(""),
    "torch": lambda: torch.ones(2) @ torch.ones(3),
    "depth": lambda: (_ for _ in ()).throw(RecursionError("maximum recursion depth exceeded")),
}


@pytest.fixture
def failing(monkeypatch):
    """Let ``diffode fields`` raise what a function raises."""

    def put(function):
        monkeypatch.setattr("diffode.cli.lists.show", lambda rows: function())

    return put


@pytest.mark.parametrize("kind", ERRORS)
def test_any_error_is_one_sentence(failing, capsys, monkeypatch, kind):
    failing(ERRORS[kind])
    assert app.run(["fields"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("error: this failed in a way that was not foreseen (")
    assert "DIFFODE_TRACEBACK=1" in err
    monkeypatch.setenv("DIFFODE_TRACEBACK", "1")
    with pytest.raises(Exception):  # noqa: B017  # each its own
        app.run(["fields"])


def test_the_packages_own_sentences_are_said_as_they_are(tmp_path):
    with pytest.raises(ValueError, match="does not exist") as caught:
        file_at(tmp_path / "none")
    assert explained(caught.value) == str(caught.value)


def test_errors_of_the_system_say_what_to_do(tmp_path):
    with pytest.raises(OSError, match="No such file") as caught:
        (tmp_path / "none").read_bytes()
    assert explained(caught.value) == f"{tmp_path / 'none'}: no such file or directory; " + (
        "check the path"
    )
    full = OSError(28, "No space left on device", "x.npz")
    assert explained(full).startswith("x.npz: no space left on device; free some space")
    assert explained(MemoryError()).startswith("out of memory; ask for less at once")


def test_messages_are_bounded(capsys):
    assert fail("long " * 10**6) == 2
    assert len(capsys.readouterr().err) < 2100
    assert len(quoted("x" * 10**7)) <= 80 and quoted("short") == "'short'"


@pytest.mark.skipif(os.name == "nt", reason="sends signals as POSIX does")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_end_a_command_with_their_exit_code(name, code):
    """Even where these tests were started by something that ignores the signal, as nohup does."""
    program = (
        f"import signal; signal.signal(signal.{name}, signal.SIG_DFL)\n"
        "import sys, time; from diffode.cli import app, lists\n"
        "def wait(rows):\n"
        "    try:\n        print('here', flush=True); time.sleep(100)\n"
        "    finally:\n        print('tidied')\n"
        "lists.show = wait; sys.exit(app.run(['fields']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout.readline() == "here\n"
            child.send_signal(getattr(signal, name))
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert (child.returncode, out, err) == (code, "tidied\n", f"ended by {name}\n")


def test_a_signal_during_the_exchange_of_processes_is_not_lost(monkeypatch):
    """It is answered a step later, by all processes at the same step."""
    stop, late = Stop(), [signal.SIGTERM]

    def all_reduce(tensor, operation):
        if late:
            stop.number = late.pop()

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    assert (stop.asked(), stop.asked(), stop.number) == (False, True, signal.SIGTERM)
