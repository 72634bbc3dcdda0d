"""Films: files that play, as many frames as were asked for, and what is refused."""

import os
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from diffode.cli.app import run
from diffode.fields import VP, Empirical, Karras
from diffode.rng import Rng
from diffode.viz import encoders
from diffode.viz.film import film
from diffode.viz.scene import Scene
from tests.fields import Point
from tests.runs import refused

POINTS = Rng(0).normal("x", (30, 2))


def scene(field=None, **asked):
    field = field or Empirical(POINTS, Karras(0.01, 20.0))
    return Scene(field=field, title="film", samples=6, **asked)


def frames_of(path):
    with Image.open(path) as made:
        frames = []
        for k in range(made.n_frames):
            made.seek(k)
            frames.append(np.asarray(made.convert("RGB")))
    return frames


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_points_move_from_the_prior_to_the_data(ending, tmp_path):
    path, told = tmp_path / f"a.{ending}", []
    count = film(
        scene(data=POINTS), path, frames=4, progress=lambda done, of: told.append((done, of))
    )
    frames = frames_of(path)
    assert count == len(frames) == 4 and frames[0].shape == (960, 1280, 3)
    assert all((a != b).any() for a, b in pairwise(frames))
    assert told[-1] == (4, 4) and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("density", [False, True])
def test_the_same_film_has_the_same_bytes(density, tmp_path):
    one, two = tmp_path / "a.gif", tmp_path / "b.gif"
    for path in (one, two):
        film(scene(), path, frames=2, density=density)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("n", [1, 3])
def test_other_points_images_and_other_fields(n, tmp_path):
    one = Empirical(Rng(0).normal("x", (20, n)), VP())
    images = Empirical(Rng(0).normal("x", (20, 1, 4, 4)).clamp(-1, 1), VP())
    for k, field in enumerate((one, images, Point())):
        assert film(scene(field, dark=k == 1), tmp_path / f"{k}.gif", frames=3) == 3
        assert len(frames_of(tmp_path / f"{k}.gif")) == 3


def test_the_ends_are_held(tmp_path):
    film(scene(), tmp_path / "a.gif", frames=3, fps=10)
    with Image.open(tmp_path / "a.gif") as made:
        shown = []
        for k in range(3):
            made.seek(k)
            shown.append(made.info["duration"])
    assert shown == [500, 100, 2000]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_mp4(tmp_path):
    film(scene(), tmp_path / "a.mp4", frames=3)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content[4:8] == b"ftyp" and os.listdir(tmp_path) == ["a.mp4"]


def test_without_ffmpeg_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(encoders.shutil, "which", lambda _: None)
    said = refused(capsys, "animate", "vp", "--out", tmp_path / "a.mp4")
    assert "needs the program ffmpeg" in said and not os.listdir(tmp_path)


def test_a_program_that_fails_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\necho no room >&2\nexit 3\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ValueError, match=r"ffmpeg failed \(no room\)"):
        film(scene(), tmp_path / "a.mp4", frames=2)
    assert os.listdir(tmp_path) == ["ffmpeg"]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = ["animate", "edm", "--data", "blobs", "--frames", "3", "--samples", "9"]
    assert run(given) == 0
    assert "wrote film.gif (3 frames, 20 a second)" in capsys.readouterr().out
    assert "ends in .gif or .webp or .mp4" in refused(capsys, *given, "--out", "a.png")
    assert "--density is for points" in refused(
        capsys, "animate", "edm", "--data", "digits", "--density"
    )


def test_labels_are_colours(tmp_path):
    field = Empirical(POINTS, VP(), labels=torch.arange(30) % 2)
    assert film(scene(field, y=torch.tensor([0, 1, 1])), tmp_path / "a.gif", frames=2) == 2
