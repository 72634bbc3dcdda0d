"""Folders of images on the command line: trained on by the real command, and nothing is hidden."""

import json

import numpy as np
import pytest
from PIL import Image

from diffode.cli.app import run
from tests.pictures import folder, picture, png

SMALL = ["--set", "width=4", "--set", "depth=1", "--steps", "2", "--batch", "8", "--samples", "20"]


@pytest.fixture
def mixed(tmp_path):
    """The folder that a person has: 500 files of many kinds, three of which show nothing."""
    names = ["cat", "小 狗", "three words here"]
    for k, name in enumerate(names):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(165):
            size = (18 + (7 * i) % 23, 17 + (5 * i) % 19)
            kind = ("PNG", "JPEG", "GIF", "WEBP", "BMP")[i % 5] if i % 3 else "GIF"
            stem = f"図 {i}" if i % 2 else f"a b {i}"
            suffix = "jpg" if kind == "JPEG" else "png"
            picture(1000 * k + i, size).save(tmp_path / "photos" / name / f"{stem}.{suffix}", kind)
    cat = tmp_path / "photos" / "cat"
    (cat / "corrupt.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))
    picture(1, (60, 60)).save(cat / "truncated.png")
    (cat / "truncated.png").write_bytes((cat / "truncated.png").read_bytes()[:900])
    (cat / "dot.png").write_bytes(png(1, 1, data=b"\0\0"))
    picture(2).convert("CMYK").save(cat / "print.jpg")
    Image.fromarray(np.arange(576, dtype=np.uint16).reshape(24, 24) * 100).save(cat / "deep.png")
    picture(3, (8000, 90)).save(cat / "panorama.jpg")
    (cat / "a b 0.png").unlink()
    return tmp_path / "photos"


def test_500_mixed_files_train_and_what_is_not_read_is_named(mixed, tmp_path, capsys):
    asked = [str(mixed), "--resize", "16"]
    out = tmp_path / "run"
    assert run(["train", "edm", *asked, "--labels", *SMALL, "--out", str(out)]) == 0
    said = capsys.readouterr().err.splitlines()
    (warning,) = [line for line in said if "left out" in line]
    assert "left out 3 of 500 images" in warning
    for name in ("cat/corrupt.jpg", "cat/dot.png", "cat/truncated.png"):
        assert f"'{name}' (" in warning
    assert "photos: 497 images, 16 x 16 RGB: the square in the middle" in "\n".join(said)
    plan = json.loads((out / "config.json").read_text())
    assert plan["reading"] == {"resize": 16}
    assert plan["class_names"] == ["cat", "three words here", "小 狗"]
    assert run(["sample", str(out), "--label", "小 狗", "--out", str(tmp_path / "x.png")]) == 0
    capsys.readouterr()
    assert run(["data", *asked]) == 0
    listed = capsys.readouterr().out
    assert "left out: 'cat/dot.png' (1 x 1 pixels" in listed


def test_a_resumed_run_reads_as_it_did(tmp_path, capsys):
    pets, out = folder(tmp_path / "pets", each=10), tmp_path / "run"
    assert run(["train", "edm", str(pets), "--resize", "8", *SMALL, "--out", str(out)]) == 0
    more = ["--steps", "3", "--samples", "20"]
    assert run(["train", "--resume", str(out), "--resize", "16", *more]) == 2
    assert "leave --resize" in capsys.readouterr().err
    assert run(["train", "--resume", str(out), *more]) == 0
    picture(777).save(pets / "cat" / "new.png")
    assert run(["train", "--resume", str(out), "--steps", "4", "--samples", "20"]) == 2
    assert "its number of rows changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--resize", "0"], "resize=0"),
        (["--resize", "8", "--background", "ugly"], "wanted a colour"),
        ([], "--resize N"),
    ],
)
def test_what_makes_no_set_stops_before_training(tmp_path, capsys, arguments, said):
    pets = folder(folder(tmp_path / "pets"), ("emu",), size=(9, 9))
    out = tmp_path / "run"
    assert run(["train", "edm", str(pets), *arguments, *SMALL, "--out", str(out)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0] and not out.exists()


def test_digits_have_no_size_to_change(tmp_path, capsys):
    assert run(["train", "edm", "digits", "--resize", "8", *SMALL]) == 2
    assert "resize=8" in capsys.readouterr().err


def test_the_progress_of_a_long_reading_is_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("diffode.cli.reading._PATIENCE", -1)
    assert run(["data", str(folder(tmp_path / "pets"))]) == 0
    assert "read the images of pets 16/16" in capsys.readouterr().err
