"""What beginners do by mistake has one line that says what to do, and nothing is answered."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

import diffode
from diffode import fit, registry, sample
from diffode.cli.app import run
from diffode.data import load
from diffode.fields import VP, Empirical, Field
from diffode.interop.folders import INDEX
from diffode.options import nearby
from diffode.priors import Normal
from diffode.runs.dataset import read_alike
from diffode.runs.plan import Plan
from diffode.runs.targets import resolve

POINTS = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with a run, a pipeline's index, a file of code, and photos."""
    monkeypatch.chdir(tmp_path)
    fit("edm", "moons", steps=2, batch=8, width=8, device="cpu", out="runs/edm-moons")
    (tmp_path / "pipe" / "unet").mkdir(parents=True)
    (tmp_path / "pipe" / INDEX).write_text("{}", encoding="utf-8")
    (tmp_path / "mine.py").write_text("field = None\n", encoding="utf-8")
    for k in range(24):
        (tmp_path / "photos" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        picture = np.full((9 + k % 3, 8, 3), 10 * k, np.uint8)
        Image.fromarray(picture).save(tmp_path / "photos" / "ab"[k % 2] / f"{k}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("edm-moons", r"did you mean 'runs/edm-moons'\? give a run directory"),
        ("runs/edm-moon", r"did you mean 'runs/edm-moons'\? "),
        ("edm", "the name of a field, which is trained first: diffode train edm;"),
        ("runs", "has no checkpoint; it holds runs: runs/edm-moons$"),
        ("pipe/unet", "is a part of the pipeline pipe; give pipe$"),
        (
            "photos",
            f"has no checkpoint; .* the folder of a diffusers pipeline, which has a {INDEX}",
        ),
        ("mine.py", "is a file of code; name what stands in it, as mine.py:NAME"),
    ],
)
@pytest.mark.usefixtures("desk")
def test_what_looks_like_a_target_is_told_for_what_it_is(target, said):
    with pytest.raises(ValueError, match=said):
        resolve(target)


def test_a_run_that_was_stopped_before_its_first_checkpoint_says_how_it_goes_on(desk):
    for file in (desk / "runs/edm-moons/checkpoints").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="no checkpoint yet; diffode train --resume runs/edm-m"):
        resolve("runs/edm-moons")
    (desk / "runs/edm-moons/checkpoints").rmdir()
    with pytest.raises(ValueError, match="has no checkpoint; give a run directory"):
        resolve("runs/edm-moons")


def test_a_folder_that_is_almost_named_is_suggested_and_a_run_is_no_data(desk):
    with pytest.raises(ValueError, match=r"no data set named 'photo/'; did you mean 'photos'\?"):
        load("photo/")
    with pytest.raises(ValueError, match="'runs/edm-moons' is a run, which holds no data; "):
        load("runs/edm-moons")
    assert nearby("edm-moon", "runs") == ["runs/edm-moons"]
    assert nearby(str(desk / "nothing like it")) == nearby("nowhere/at/all") == []


@pytest.mark.parametrize("kind", ["network", "recipe", "source", "solver"])
def test_a_file_without_a_name_in_it_says_where_the_name_goes(kind):
    with pytest.raises(ValueError, match=r"got 'mine\.py'; name the .* as mine\.py:NAME$"):
        registry.find(kind, "mine.py", run=True)


def test_other_data_of_the_runs_kind_are_read_in_the_runs_way(desk):
    reading = {"resize": 8, "grey": True, "scale": "pixels"}
    out = desk / "runs/edm-photos"
    fit("edm", "photos", steps=2, batch=8, width=8, device="cpu", out=out, reading=reading)
    (desk / "photos").rename(desk / "others")
    assert resolve(out).dataset("others").event_shape == (1, 8, 8)
    plan = Plan.read(out)
    assert read_alike(plan, "runs") == {"resize": 8, "grey": True}
    for other in ("moons", "mine.py", "mine.npz"):
        assert read_alike(plan, other) == read_alike(None, other) == {}


OBJECTS = {
    "a run": (lambda: fit("edm", POINTS, steps=1, batch=8, width=8), r"type Run; .* its \.field"),
    "an objective": (
        lambda: diffode.build("edm", (2,), width=8),
        r"Denoising; .* give its \.field",
    ),
    "a path": (lambda: "runs/a", r"str; .* diffode\.load\('runs/a'\)\.field"),
    "a function": (lambda: lambda x, t: -x, "function; .*from_velocity and from_denoiser"),
}


@pytest.mark.parametrize("given", OBJECTS)
def test_what_is_given_in_place_of_a_field_is_told(given):
    make, said = OBJECTS[given]
    thing = make()
    calls = [
        lambda: sample(thing, 3),
        lambda: diffode.encode(thing, POINTS),
        lambda: diffode.decode(thing, POINTS),
        lambda: diffode.edit(thing, POINTS, 0.5),
        lambda: diffode.interpolate(thing, POINTS, POINTS),
        lambda: diffode.log_prob(thing, POINTS),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=said):
            call()


class Narrow(Field):
    """Its velocity has one coordinate, which torch would stretch over all."""

    prior, span, event_shape = Normal(), (0.0, 1.0), (2,)

    def velocity(self, x, t, y=None):
        return -x[:, :1]


class NarrowMean(Empirical):
    def posterior(self, x, t, y=None):
        x0, noise = super().posterior(x, t, y)
        return x0[:, :1], noise


@pytest.mark.parametrize("solver", ["heun", "euler", "dopri5", "dopri5-rows"])
def test_a_velocity_of_another_shape_is_not_stretched(solver):
    said = r"the velocity of Narrow is of shape \(4, 1\); wanted that of x, \(4, 2\)"
    with pytest.raises(ValueError, match=said):
        sample(Narrow(), 4, solver, **({} if solver.startswith("dopri5") else {"steps": 2}))


def test_a_mean_of_another_shape_is_not_stretched():
    said = r"the E\[x_0 \| x\] of NarrowMean is of shape \(4, 1\); wanted that of x, \(4, 2\)"
    with pytest.raises(ValueError, match=said):
        sample(NarrowMean(POINTS, VP()), 4, "ddim", steps=3, grid="native")


def test_a_run_prints_in_one_line_whatever_its_length():
    run = fit("edm", POINTS, steps=300, batch=2, width=4, depth=1, device="cpu")
    assert len(run.losses) == 300
    assert re.fullmatch(
        r"Run\(edm on memory: 300 steps in \d+ s, last loss field [\d.e-]+, out None\)", repr(run)
    )


def test_classes_that_were_not_asked_for_are_told_of(desk, capsys):
    asked = ["train", "edm", "photos", "--resize", "8", "--dry-run"]
    said = "photos: its classes are not learned; --labels learns them"
    for more, told in ([], True), (["--labels"], False), (["--no-labels"], False):
        assert run([*asked, *more]) == 0
        assert (said in capsys.readouterr().err.splitlines()) == told
