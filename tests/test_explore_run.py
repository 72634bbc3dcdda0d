"""What the explorer's page shows of a trained field, beside the exact ones."""

import base64

import numpy as np
import pytest
import torch

from diffode import fit, sample
from diffode.cli.app import run
from diffode.data import as_dataset, load
from diffode.explore import explorer_page
from diffode.explore.recorded import LEVELS, recorded
from diffode.explore.sets import as_set
from diffode.fields import VP, Empirical
from tests.browser import CHROMIUM, opened
from tests.runs import made


def states(found, n=2):
    """The states of all kept levels, (K, count, n)."""
    numbers = np.frombuffer(base64.b64decode(found["bytes"]), "<i2") * found["scale"]
    return torch.from_numpy(numbers).view(-1, found["count"], n)


@pytest.fixture(scope="module")
def moons():
    return load("moons")


def test_the_path_of_an_affine_field_is_shown_in_y_over_its_spread(moons):
    field = Empirical(moons.train[:400], VP())
    found = recorded(field, moons, "exact")
    path = sample(
        field, found["count"], "heun", steps=LEVELS, path=True, grid="logsnr", final="none"
    )
    alpha, sigma = field.level(path.times, path.times)
    rho = sigma / alpha / field.moments[1]
    assert found["rhos"] == pytest.approx(rho.tolist())
    wanted = path.path / (alpha * (1 + rho**2).sqrt())[:, None, None]
    inside = wanted.abs() < 8 * float(wanted[-1].abs().max())
    assert (states(found) - wanted)[inside].abs().max() < found["scale"] + 1e-5
    assert found["nfe"] == path.nfe and inside.double().mean() > 0.99


def test_a_run_in_units_of_its_own_ends_where_its_samples_do():
    data = as_dataset(1000 + 50 * load("moons").train[:300], scale="standard")
    field = fit("edm", data, steps=2, width=16, depth=1, batch=16).field
    centre = as_set(data)["centre"]
    found = recorded(field, data, "run", centre)
    end = states(found)[-1] + torch.tensor(centre)
    wanted = sample(field, len(end), "heun", steps=LEVELS, grid="logsnr", final="none").x
    assert field.scaling is not None and centre != [0, 0]
    assert torch.allclose(end, wanted.double(), rtol=0, atol=2 * found["scale"])
    assert found["scale"] < 0.1


@pytest.mark.parametrize("name", ["monoflow", "poisson", "gan"])
def test_fields_of_every_kind_are_recorded(name, moons):
    sizes = {"steps": 2, "width": 16, "depth": 1, "batch": 16}
    trained = fit(name, moons, **sizes)
    found = recorded(trained.field, trained.dataset, name)
    assert states(found).shape == (LEVELS + 1, found["count"], 2)
    assert states(found).isfinite().all()


def test_the_command_on_a_run(tmp_path, capsys):
    folder = made(tmp_path, "edm", "--data", "moons")
    assert run(["explore", str(folder), "--out", str(tmp_path / "e.html")]) == 0
    text = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert "<title>Explorer: edm on moons</title>" in text and '"rhos": [' in text


def test_a_run_of_tokens_says_that_its_data_stand_alone(tmp_path, capsys):
    folder = made(tmp_path, "masked", "digits-binary")
    capsys.readouterr()
    assert run(["explore", str(folder), "--out", str(tmp_path / "e.html")]) == 0
    said = capsys.readouterr().err
    assert (
        said == "warning: masked on digits-binary moves no points; the page shows its data alone\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
@pytest.mark.parametrize("name", ["moons", "digits"])
def test_the_page_of_a_run_shows_what_was_recorded(name, tmp_path):
    pytest.importorskip("playwright")
    data = load(name)
    field = Empirical(data.train[:300], VP())
    path = tmp_path / "run.html"
    path.write_text(explorer_page([data], "A run", field), encoding="utf-8")
    with opened(path) as found:
        assert "moved by the trained network" in found.text("error-Left")
        read = "Array.from(explorer.views[0].drawing.states[48])"
        shown = torch.tensor(found.page.evaluate(read), dtype=torch.float64)
        wanted = states(recorded(field, data, "run"), data.train[0].numel())[-1]
        assert torch.allclose(shown, wanted.flatten(), atol=1e-6)
        found.choose("set", "1")
        assert found.page.locator("#field-Left").input_value() != "run"
        assert found.said == []
