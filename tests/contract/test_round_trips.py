"""Encode then decode returns the data to 1e-4, for every affine recipe, with labels and units."""

import numpy as np
import pytest
import torch

from diffode import recipes
from diffode.cli.app import run
from diffode.data import Dataset, load
from diffode.data.scaling import Scaling, data_units
from diffode.fields import AffineField
from diffode.runs.building import build
from diffode.runs.run import fit
from tests.quick import quick
from tests.runs import arrays

SMALL = {"steps": 80, "batch": 32, "width": 24, "depth": 2, "device": "cpu"}
COLUMNS = Scaling("standard", torch.tensor([1000.0, -0.02]), torch.tensor([50.0, 0.001]))
UNITS = {"pixels": ("digits", Scaling.pixels()), "standard": ("moons", COLUMNS)}
AFFINE = [
    name
    for name in recipes.names()
    if isinstance(build(name, (2,), 2, width=8, depth=1).field, AffineField)
]
CASES = [(name, units) for name in AFFINE for units in UNITS]


def labelled(units):
    name, scaling = UNITS[units]
    plain = load(name)
    labels = [torch.arange(len(x)) % 2 for x in (plain.train, plain.test)]
    if plain.train_labels is not None:
        labels = [plain.train_labels, plain.test_labels]
    return Dataset(name, plain.train, plain.test, *labels, scaling=scaling)


@pytest.mark.parametrize(("name", "units"), quick(CASES, 0, 1, CASES.index(("poisson", "pixels"))))
def test_decoding_returns_what_was_encoded(name, units, tmp_path):
    dataset = labelled(units)
    fit(name, dataset, labels=True, out=tmp_path / "run", **SMALL)
    x = data_units(dataset.test[:12].double(), dataset.scaling).numpy()
    np.savez(tmp_path / "x.npz", x=x, y=dataset.test_labels[:12].numpy())
    there, back = str(tmp_path / "there.npz"), str(tmp_path / "back.npz")
    given = [str(tmp_path / "run"), "--device", "cpu"]
    assert run(["encode", *given, str(tmp_path / "x.npz"), "--out", there]) == 0
    assert run(["decode", *given, there, "--out", back]) == 0
    error = (arrays(back)["x"] - x) / dataset.scaling.width.numpy()
    size = x / dataset.scaling.width.numpy() if units == "pixels" else np.ones_like(x)
    error, size = (np.linalg.norm(v.reshape(12, -1), axis=1) for v in (error, size))
    assert (error <= 1e-4 * size).all(), (error / size).max()
