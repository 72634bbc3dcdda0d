"""`diffode restore --guidance`: observations of a field that is guided to a class."""

import re

import numpy as np
import pytest
import torch

from diffode import sample
from diffode.code import place
from diffode.code import run as run_code
from diffode.data import load
from diffode.fields import classifier_free, conditioned
from diffode.fields.operators import downsample
from diffode.sampling import twisted
from tests.runs import refused
from tests.test_cli_restoring import MINE, restored

HALVES, NOISE = downsample((1, 8, 8), 2), 0.3
GIVEN = "--operator downsample:2 --noise 0.3 --degrade --draws 2 --seed 4"


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine_to_restore_guided.py"
    path.write_text(MINE, encoding="utf-8")
    return path


@pytest.fixture
def images(tmp_path):
    np.save(tmp_path / "images.npy", load("digits").test[:2].numpy())
    return tmp_path / "images.npy"


def seen(made):
    """The observation of each draw."""
    return torch.from_numpy(made["observed"]).repeat_interleave(2, 0)


@pytest.mark.parametrize(("interval", "calls"), [("", 24), ("--interval 0.5 5", None)])
def test_all_that_guidance_compares_is_given_the_observation(
    interval, calls, mine, images, tmp_path, capsys
):
    field, told = run_code(place(f"{mine}:labelled")), "--label 3 --guidance 2"
    made = restored(tmp_path, f"restore {mine}:labelled {images} {GIVEN} {told} {interval}")
    around = conditioned(field, HALVES, seen(made), NOISE)
    guided = classifier_free(around, 2.0, (0.5, 5.0) if interval else None)
    drawn = sample(guided, 4, "dpm++", nfe=6, seed=4, y=3)
    np.testing.assert_allclose(made["x"], drawn.x, atol=1e-5)
    said = int(re.search(r"(\d+) network calls each", capsys.readouterr().out)[1])
    assert said == drawn.network_calls and (said == calls if calls else 12 < said < 24)


def test_weight_1_is_the_class_at_its_cost(mine, images, tmp_path, capsys):
    made = [
        restored(tmp_path, f"restore {mine}:labelled {images} {GIVEN} --label 3 {more}")["x"]
        for more in ("", "--guidance 1")
    ]
    np.testing.assert_array_equal(*made)
    assert capsys.readouterr().out.count("12 network calls each") == 2


@pytest.mark.parametrize("interval", ["", "--interval 0.5 5"])
@pytest.mark.parametrize("weight", [0, 1, 2.5])
def test_an_exact_classifier_guides_as_labels_do(weight, interval, mine, images, tmp_path):
    """But that off an interval labels leave the class, and a classifier no class."""
    label, told = "--label 3", f"--guidance {weight} {interval}"
    made = [
        restored(tmp_path, f"restore {mine}:{target} {images} {GIVEN} {told} {more}")
        for target, more in (
            ("exact", f"--classifier {mine}:by {label if weight else ''}"),
            ("labelled", label if weight or interval else ""),
        )
    ]
    if not interval:
        np.testing.assert_allclose(made[0]["x"], made[1]["x"], atol=2e-3)
    elif weight == 0:
        free = restored(tmp_path, f"restore {mine}:exact {images} {GIVEN}")
        np.testing.assert_allclose(made[0]["x"], free["x"], atol=2e-3)


def test_a_weaker_field_is_given_the_observation_too(mine, images, tmp_path):
    field, weak = (run_code(place(f"{mine}:{name}")) for name in ("labelled", "wider"))
    told = f"--label 3 --guidance 2 --weak {mine}:wider"
    made = restored(tmp_path, f"restore {mine}:labelled {images} {GIVEN} {told}")
    around = [conditioned(one, HALVES, seen(made), NOISE) for one in (field, weak)]
    guided = classifier_free(around[0], 2.0, weak=around[1])
    x = sample(guided, 4, "dpm++", nfe=6, seed=4, y=3).x
    np.testing.assert_allclose(made["x"], x, atol=1e-5)


def test_particles_walk_as_the_guided_field_does(mine, images, tmp_path, capsys):
    told = "--label 3 --guidance 2 --method smc --particles 20"
    made = restored(tmp_path, f"restore {mine}:labelled {images} {GIVEN} {told}")
    field = classifier_free(run_code(place(f"{mine}:labelled")), 2.0)
    for k in range(2):
        drawn = twisted(field, HALVES, seen(made)[2 * k], NOISE, 2, 20, nfe=6, seed=4 + k, y=3)
        np.testing.assert_allclose(made["x"][2 * k : 2 * k + 2], drawn.x, atol=1e-5)
    assert f"{drawn.network_calls} network calls of each particle" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        ("labelled", "--guidance 2", "without a label to guide to; give --label"),
        ("exact", "--guidance 2 --label 3", "was trained without labels; train it with --labels"),
        ("unguided", "--guidance 2 --label 3", "knows no label (guidance 0); train it"),
        (
            "straight",
            "--label 3 --guidance 2 --classifier {mine}:by --interval 1500 5000",
            "got interval",
        ),
        ("labelled", "--label 3 --interval 1 2", "got --interval without --guidance"),
        ("labelled", "--label 3 --guidance 2 --weak {mine}:points", "got a weaker field on"),
        ("labelled", "--label 3 --guidance 2 --classifier {mine}:exact", "no classifier guides"),
    ],
)
def test_what_does_not_fit_is_refused(target, given, message, mine, images, tmp_path, capsys):
    out, given = tmp_path / "x.npz", given.format(mine=mine).split()
    command = ["restore", f"{mine}:{target}", images, *GIVEN.split(), *given, "--out", out]
    assert message in refused(capsys, *command)
    assert not out.exists()
