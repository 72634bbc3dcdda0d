"""Temperature, `diffode interpolate` and `diffode edit` as their users meet them."""

import numpy as np

from diffode.cli.app import run
from tests.runs import arrays, refused


def test_samples_at_another_temperature(edm, tmp_path):
    drawn = []
    for given in ([], ["--temperature", "1"], ["--temperature", "0.5"]):
        out = tmp_path / "x.npz"
        shared = ["--samples", "3", "--nfe", "3", "--out", str(out)]
        assert run(["sample", str(edm), *shared, *given]) == 0
        drawn.append(arrays(out)["x"])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[2] - drawn[0]).max() > 0.01


def test_temperatures_that_mean_nothing_are_refused(edm, poisson, tmp_path, capsys):
    out = ["--out", tmp_path / "x.npz"]
    line = refused(capsys, "sample", edm, "--temperature", "0", *out)
    assert "got temperature 0.0; wanted a positive finite number" in line
    line = refused(capsys, "sample", poisson, "--temperature", "0.5", *out)
    assert "scales a normal prior alone" in line
    assert not (tmp_path / "x.npz").exists()
