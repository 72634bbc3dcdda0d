"""Places of output that cannot be, refused at once and without a trace; names to be shown."""

import io
import sys

import numpy as np
import pytest
import torch

from diffode.cli.app import run
from diffode.cli.failing import explained
from diffode.data.points import read_array
from diffode.files import require_place
from tests.runs import refused


@pytest.mark.parametrize("there", [False, True])
def test_a_refusal_leaves_no_folder(tmp_path, capsys, there):
    out = tmp_path / "new" / "deeper" / "out.safetensors"
    if there:
        out.parent.parent.mkdir()
    before = list(tmp_path.rglob("*"))
    assert "no option 'a'" in refused(capsys, "features", "digits", "--set", "a=1", "--out", out)
    assert list(tmp_path.rglob("*")) == before


def test_a_place_that_cannot_be_is_refused_before_the_work(tmp_path, capsys):
    for out, said in (
        (tmp_path / f"{'o' * 300}.png", "file name too long; give another name"),
        (tmp_path / "folder.png", "is a folder; wanted the name of a file"),
        (tmp_path / "file" / "out.png", "file is a file; give another name"),
    ):
        (tmp_path / "folder.png").mkdir(exist_ok=True)
        (tmp_path / "file").write_text("")
        assert said in refused(capsys, "sample", tmp_path / "no-run", "--out", out)


def test_a_place_keeps_what_is_there(tmp_path):
    (tmp_path / "out.png").write_text("before")
    require_place(tmp_path / "out.png")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out.png", "before")]


def test_a_name_that_is_no_text_is_printed(tmp_path, monkeypatch):
    printed = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", printed)
    assert (
        run(["tour", "--data", "moons", "--field", "vp", "--out", str(tmp_path / "\udcff.png")])
        == 0
    )
    printed.flush()
    assert b"\\udcff.png" in printed.buffer.getvalue()


@pytest.mark.parametrize(
    "ask",
    [lambda: np.empty(10**30), lambda: torch.empty(2**40, 2**40), lambda: (2**70).to_bytes(8)],
)
def test_a_count_beyond_the_machine_is_said_to_be_one(ask):
    with pytest.raises((OverflowError, ValueError, TypeError, RuntimeError)) as caught:
        ask()
    assert "beyond 2^63" in explained(caught.value)


@pytest.mark.parametrize("kind", ["V4", "U2", "M8[s]", "c8"])
def test_an_array_beside_the_points_is_of_numbers(tmp_path, kind):
    np.savez(tmp_path / "a.npz", field=np.zeros(3, kind), q=np.arange(3, dtype=">f4"))
    assert read_array(tmp_path / "a.npz", "q").tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"a\.npz: got field of type .*; wanted numbers"):
        read_array(tmp_path / "a.npz", "field")


def test_a_control_character_in_a_file_is_no_command_to_the_terminal(tmp_path, capsys):
    """Names of columns and of files, where they are told, refused and warned of."""
    odd = "\x1b[31mred\u202e"
    rows = "".join(f"{k},{k * k % 5}\n" for k in range(12))
    for name, text in (("a.csv", f"{odd},b\n{rows}"), (f"{odd}.csv", f"a,b\n{rows}x,1\n")):
        (tmp_path / name).write_text(text)
        run(["data", str(tmp_path / name)])
        run(["data", str(tmp_path / name), "--columns", "c"])
    told = "".join(capsys.readouterr())
    assert "red\\u202e" in told and "\x1b" not in told and "\u202e" not in told
