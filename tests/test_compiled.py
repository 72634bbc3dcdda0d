"""``torch.compile``: compiled objectives and plain ones read each other's files."""

import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import diffode
from diffode.data import load
from diffode.training import checkpoint, data_stats
from diffode.training.trainer import train

MOONS = load("moons").train
PLACES = ["plain", "network", "field", "objective"]
pytestmark = pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")


def made(place="plain", backend="eager"):
    """A small objective, compiled in one place."""
    objective = diffode.build("edm", (2,), None, data_stats(MOONS), width=16, depth=1)
    if place == "objective":
        return torch.compile(objective, backend=backend)
    if place == "network":
        objective.field.network = torch.compile(objective.field.network, backend=backend)
    if place == "field":
        objective.field = torch.compile(objective.field, backend=backend)
    return objective


def trained(out, place, steps, **more):
    options = {"batch": 16, "device": "cpu", **more}
    return list(train(made(place), MOONS, steps=steps, out=out, **options))[-1]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A run of two steps for each place, all on one plan."""
    folder = tmp_path_factory.mktemp("runs")
    for place in PLACES:
        trained(folder / place, place, 2)
    return folder


@pytest.mark.parametrize("place", PLACES)
def test_checkpoints_have_the_names_of_a_plain_objective(files, place):
    kept = load_file(checkpoint.find(files / place))
    plain = load_file(checkpoint.find(files / "plain"))
    assert kept.keys() == plain.keys()
    for name in plain:
        torch.testing.assert_close(kept[name], plain[name], rtol=1e-4, atol=1e-6)
    x = torch.ones(3, 2)
    one, two = (diffode.load(files / p).field.velocity(x, 1.0) for p in (place, "plain"))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("other", ["plain", "network", "objective"])
def test_a_run_goes_on_with_or_without_the_compiler(tmp_path, files, place, other):
    last = trained(tmp_path, other, 3, resume=files / place)
    plain = trained(tmp_path / "plain", "plain", 3, resume=files / "plain")
    assert last.step == 3 and last.losses["field"] == pytest.approx(
        plain.losses["field"], rel=1e-4
    )


@pytest.mark.parametrize("inside", ["field.network.", ""])
def test_a_file_with_the_wrappers_names_is_read(tmp_path, files, inside):
    """Older versions wrote the names as torch.compile shows them."""
    path = checkpoint.find(files / "plain")
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["diffode"])
    header = {k: v for k, v in header.items() if k not in ("digest", "idle", "training")}
    metadata = {"diffode": json.dumps({**header, "format": 1})}
    start = re.compile(rf"^(model|opt/field)/{inside}|^ema/(?=network)")
    renamed = {start.sub(r"\g<0>_orig_mod.", n): v for n, v in load_file(path).items()}
    assert sum("_orig_mod" in name for name in renamed) > 10
    old = tmp_path / "step-00000002.safetensors"
    save_file(renamed, old, metadata=metadata)
    x = torch.ones(3, 2)
    now = diffode.load(path).field.velocity(x, 1.0)
    assert torch.equal(diffode.load(old).field.velocity(x, 1.0), now)
    assert trained(tmp_path / "on", "plain", 3, resume=old).step == 3
