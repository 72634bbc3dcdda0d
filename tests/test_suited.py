"""What a plan leaves open is chosen by its data, and stated; older runs stay as they were."""

import json

import numpy as np
import pytest
import torch

import diffode
from diffode.cli.app import run
from diffode.data import Dataset
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.runs.suited import suited
from diffode.training import checkpoint, container
from tests.runs import refused

SETS = {"points": (2,), "digits": (1, 8, 8), "images": (1, 17, 17), "many": (300,)}


def chosen(shape, field="edm", **options):
    data = Dataset("x", torch.randn(3, *shape), torch.randn(1, *shape))
    plan = suited(Plan.make(field, device="cpu", **options), data)
    sizes = {k: plan.options[k] for k in ("width", "depth") if plan.options[k] is not None}
    return plan.training["steps"], plan.training["batch"], sizes


@pytest.mark.parametrize(
    ("data", "options", "wanted"),
    [
        ("points", {}, (1400, 512, {"width": 128, "depth": 3})),
        ("points", {"depth": 1, "steps": 9}, (9, 512, {"width": 128, "depth": 1})),
        ("points", {"network": "builtins:dict"}, (1400, 512, {})),
        ("points", {"field": "gan"}, (4000, 128, {})),
        ("digits", {}, (700, 512, {})),
        ("many", {}, (700, 512, {})),
        ("digits", {"network": "unet", "batch": 64}, (5000, 64, {"width": 16})),
        ("digits", {"network": "dit"}, (5000, 32, {"width": 128, "depth": 4})),
        ("images", {}, (5000, 32, {"width": 16})),
        ("images", {"network": "mlp"}, (700, 512, {})),
        ("images", {"network": "builtins:dict"}, (5000, 32, {})),
        ("images", {"field": "gan"}, (4000, 128, {})),
    ],
)
def test_open_options_are_chosen_by_the_data(data, options, wanted):
    assert chosen(SETS[data], **options) == wanted


def test_a_gpu_takes_wider_networks_and_larger_batches(monkeypatch):
    monkeypatch.setattr("diffode.runs.suited.choose", lambda name: torch.device("cuda"))
    assert chosen(SETS["images"]) == (5000, 128, {"width": 32})


def test_a_run_states_what_was_chosen_and_goes_on_with_it(tmp_path):
    plan = Plan.make("edm", "moons", device="cpu")
    assert plan.training["steps"] is None and plan.options["width"] is None
    execute(plan, out=tmp_path, watch=lambda state: state.step == 2)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert (stored["training"]["steps"], stored["training"]["batch"]) == (1400, 512)
    assert (stored["options"]["width"], stored["options"]["depth"]) == (128, 3)
    assert stored["resolved"]["network"]["width"] == 128
    header, _ = checkpoint.opened(tmp_path)
    assert header["options"]["width"] == 128 and header["training"]["steps"] == 1400
    done = execute(plan, out=tmp_path, resume=True, watch=lambda state: state.step == 3)
    assert done.plan.steps == 1400 and len(done.losses) == 1
    message = "is a run with width 128, not 64"
    with pytest.raises(ValueError, match=message):
        execute(Plan.make("edm", "moons", width=64, device="cpu"), out=tmp_path, resume=True)


def test_a_dry_run_tells_what_would_be_chosen(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "edm", "moons", "--dry-run", "--device", "cpu"]) == 0
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert rows["network"].startswith("MLP, width 128, depth 3, ")
    assert (rows["steps"], rows["batch"], rows["width"]) == ("1400", "512", "128")
    images = tmp_path / "x.npy"
    np.save(images, np.arange(20 * 17 * 17, dtype=np.uint8).reshape(20, 1, 17, 17))
    assert (
        run(["train", "edm", str(images), "--network", "dit", "--dry-run", "--device", "cpu"]) == 0
    )
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert (rows["patch"], rows["multipliers"], rows["width"]) == ("- (2)", "-", "128")
    said = refused(capsys, "train", "edm", "moons", "--set", "multipliers=1,2")
    assert said.endswith("network 'mlp' takes no multipliers; it takes width, depth\n")
    assert not (tmp_path / "runs").exists()


OLD = {"mlp": ((2,), {"width": 512, "depth": 4}), "unet": ((1, 17, 17), {"width": 32, "depth": 1})}


@pytest.mark.parametrize("name", OLD)
def test_a_checkpoint_that_left_its_sizes_open_is_what_it_was(name, tmp_path):
    """Versions before these options wrote no value for sizes that were left open."""
    shape, sizes = OLD[name]
    built = diffode.build("edm", shape, **sizes)
    with torch.no_grad():
        for p in built.parameters():
            p.add_(torch.linspace(-0.05, 0.05, p.numel()).view_as(p))
    path = checkpoint.save(built, tmp_path / "new.safetensors")
    header, tensors = container.read(path)
    later = {"multipliers", "attention", "patch", "dropout"}
    options = {k: v for k, v in header["options"].items() if k not in later}
    header["options"] = options | {"width": None, "depth": None}
    old = container.write(tmp_path / "old.safetensors", header, tensors)
    drawn = [diffode.sample(diffode.load(p).field, 3, nfe=4).x for p in (path, old)]
    assert torch.equal(*drawn)
    again = diffode.build("edm", shape)
    checkpoint.require_same(header, tensors, again)
    with pytest.raises(ValueError, match="the checkpoint has width None, the objective 8"):
        checkpoint.require_same(header, tensors, diffode.build("edm", shape, width=8))
    header["options"]["multipliers"] = "1,9999999"
    huge = container.write(tmp_path / "huge.safetensors", header, tensors)
    with pytest.raises(ValueError, match="does not fit its own spec: multipliers 9999999"):
        diffode.load(huge)
