"""Checkpoints: a spec and tensors, from which the very same field is rebuilt."""

import json
import os
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import diffode
from diffode import recipes
from diffode.data import load
from diffode.rng import Rng
from diffode.runs import loading
from diffode.testing.answers import answer
from diffode.training import checkpoint, data_stats
from diffode.training.state import fill, state
from diffode.training.trainer import train
from tests.runs import WITHOUT_LABELS, edited

MOONS, DIGITS = load("moons"), load("digits")
VARIANTS = [(name, {}) for name in WITHOUT_LABELS]
VARIANTS += [("poisson", {"objective": kind}) for kind in ("regression", "single")]
VARIANTS += [("poisson", {"dof": 3.0, "radius": "fixed"}), ("vp", {"beta_max": 9.0})]
IDS = [" ".join([name, *map(str, options.values())]) for name, options in VARIANTS]
PARTS = {"model", "ema", "opt", "extra", "stats"}


def make(name="edm", x=MOONS.train, classes=None, **options):
    """A small objective with all weights away from their start."""
    options = {"width": 16, "depth": 1, **options}
    objective = diffode.build(name, tuple(x.shape[1:]), classes, data_stats(x[:200]), **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in objective.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    return objective


@torch.no_grad()
def velocity(objective, y=None, count=5):
    start = objective.field.start(count, Rng(7))
    first, last = start.field.span
    return torch.stack(
        [answer(start.field, start.x, s * last + (1 - s) * first, y) for s in (0.0, 0.3, 0.7)]
    )


@pytest.fixture
def no_pickle(monkeypatch):
    """Nothing may be pickled or unpickled."""
    import torch._dynamo  # what torch.func imports when it is first used, and defines a Pickler in

    def refuse(*arguments, **options):
        raise AssertionError("pickle was used")

    for module in (torch, pickle):
        for name in ("load", "save", "dump", "dumps", "loads", "Pickler", "Unpickler"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, refuse)


# ---------------------------------------------------------------------------------- the round trip


@pytest.mark.usefixtures("no_pickle")
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_a_field_is_rebuilt_bit_for_bit(tmp_path, name, options):
    objective = make(name, **options)
    again = loading.load(checkpoint.save(objective, tmp_path / "x.safetensors"))
    assert type(again) is type(objective) and again.spec == objective.spec
    assert repr(again.field) == repr(objective.field)
    assert torch.equal(velocity(again), velocity(objective))


@pytest.mark.usefixtures("no_pickle")
@pytest.mark.parametrize("network", ["mlp", "unet"])
def test_a_network_with_labels_is_rebuilt(tmp_path, network):
    objective = make("edm", DIGITS.train, 10, network=network, width=8)
    again = diffode.load(diffode.save(objective, tmp_path / "x.safetensors"))
    y = torch.tensor([3, 1, 4, 1, 5])
    assert torch.equal(velocity(again, y), velocity(objective, y))
    assert torch.equal(velocity(again), velocity(objective))
    assert not torch.equal(velocity(again, y), velocity(again))


def test_the_spec_and_the_statistics_come_back(tmp_path):
    objective = make("pfgmpp", DIGITS.train, 10, dof=7.0)
    path = checkpoint.save(objective, tmp_path / "x.safetensors", step=12)
    header, _ = checkpoint.read(path)
    assert (header["recipe"], header["shape"]) == ("pfgmpp", [1, 8, 8])
    assert (header["classes"], header["step"], header["format"]) == (10, 12, 2)
    assert header["options"] == dict(objective.spec.options)
    assert header["options"]["dof"] == 7.0 and header["options"]["sigma_max"] == 80.0
    one, two = objective.stats.tensors(), loading.load(path).stats.tensors()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_trained_run_is_a_plain_safetensors_file(tmp_path):
    list(train(make("poisson"), MOONS.train, steps=2, batch=16, out=tmp_path, device="cpu"))
    path = checkpoint.file_at(tmp_path)
    with safe_open(path, "pt") as file:
        names, metadata = list(file.keys()), file.metadata()
    assert list(metadata) == ["diffode"] and json.loads(metadata["diffode"])["step"] == 2
    assert {name.split("/")[0] for name in names} == PARTS - {"extra"}
    moments = {name.rsplit("/", 1)[1] for name in names if name.startswith("opt/field/")}
    assert moments == {"step", "exp_avg", "exp_avg_sq"}
    assert str(tmp_path).encode() not in path.read_bytes(), "the file names a folder"


def test_tied_parameters_are_stored_once(tmp_path):
    def tied():
        objective = make()
        block = objective.field.network.blocks[0]
        block.second.weight = block.first.weight
        return objective

    one = tied()
    path = checkpoint.save(one, tmp_path / "x.safetensors")
    names = [n for n in load_file(path) if n.startswith("model/")]
    assert len(names) == len(dict(one.named_parameters())) + len(dict(one.named_buffers()))
    assert not any("blocks.0.second.weight" in n or n.startswith("model/learned.") for n in names)
    two = tied()
    with torch.no_grad():
        for p in two.parameters():
            p.zero_()
    fill(two, checkpoint.read(path)[1])
    block = two.field.network.blocks[0]
    assert block.second.weight is block.first.weight
    assert torch.equal(velocity(one), velocity(two))


@pytest.mark.parametrize("name", recipes.names())
def test_a_field_on_another_device_has_the_names_that_it_has_here(name):
    """Buffers that were one stay one: else no file of a GPU would fit a field made on a CPU."""
    objective = make(name, DIGITS.train, 10)
    network = next(m for m in objective.field.modules() if not list(m.children()))
    network.register_buffer("first", torch.zeros(1))
    network.register_buffer("second", network.first)
    here = list(state(objective))
    assert list(state(objective.to("meta"))) == here
    assert network.second is network.first


# ------------------------------------------------------------------------------- which weights


def test_averaged_and_raw_weights(tmp_path):
    state = list(train(make(), MOONS.train, steps=4, batch=16, out=tmp_path, device="cpu"))[-1]
    raw, ema = loading.load(tmp_path, "raw"), loading.load(tmp_path)
    pairs = {"raw": (raw.field, state.objective.field), "ema": (ema.field, state.averaged)}
    for kind, (loaded, trained) in pairs.items():
        for name, p in trained.named_parameters():
            assert torch.equal(loaded.get_parameter(name), p), f"{kind} {name}"
    assert not torch.equal(velocity(raw), velocity(ema))


def test_without_an_average_the_weights_are_raw(tmp_path):
    objective = make()
    path = checkpoint.save(objective, tmp_path / "x.safetensors")
    assert torch.equal(velocity(loading.load(path, "ema")), velocity(objective))


def test_a_run_gives_its_newest_checkpoint(tmp_path):
    """The newest is that of the most steps, whenever its file was touched."""
    folder = tmp_path / "checkpoints"
    for age, step in enumerate((9, 100, 20)):
        path = folder / f"step-{step:08d}.safetensors"
        checkpoint.save(make(seed=step), path, step=step)
        os.utime(path, (age, age))
    (folder / ".step-00000999.safetensors.1.tmp").write_bytes(b"half")
    assert checkpoint.file_at(tmp_path).name == "step-00000100.safetensors"
    assert torch.equal(velocity(loading.load(tmp_path)), velocity(make(seed=100)))
    older = folder / "step-00000009.safetensors"
    assert torch.equal(velocity(loading.load(older)), velocity(make(seed=9)))


# -------------------------------------------------------------------------------------- bad files


def grow(header, tensors):
    name = "model/field.network.outer.bias"
    tensors[name] = torch.cat([tensors[name], torch.zeros(1)])


CHANGES = {
    "format": (
        lambda h, t: h.update(format=3),
        "has checkpoint format 3, this version reads",
    ),
    "not a spec": (lambda h, t: [1], "is not a diffode checkpoint: its header has no spec"),
    "no recipe": (lambda h, t: h.update(shape=h.pop("recipe")), "is not a diffode checkpoint"),
    "a shape": (grow, r"does not fit this objective: 1 tensors differ \(field.network.outer.bias"),
    "one less": (
        lambda h, t: t.pop("model/field.mean"),
        r"does not fit this objective: 1 tensors differ \(field.mean",
    ),
    "one more": (
        lambda h, t: t.update({"model/more": torch.ones(1)}),
        r"does not fit this objective: 1 tensors differ \(more",
    ),
    "average": (
        lambda h, t: t.update({"ema/mean": torch.ones(2)}),
        "does not fit the averaged field",
    ),
    "statistics": (lambda h, t: t.pop("stats/std"), "has no tensor stats/std"),
    "two spreads": (lambda h, t: t.update({"stats/std": torch.ones(2)}), "std has 2 numbers"),
    "no spread": (lambda h, t: t.update({"stats/std": torch.tensor(torch.nan)}), "all finite"),
    "spectrum": (lambda h, t: t.update({"stats/spectrum": torch.ones(3)}), "wanted 2, all finite"),
    "basis": (lambda h, t: t.update({"stats/basis": torch.ones(2)}), "basis has 2 numbers"),
    "mean": (lambda h, t: t.update({"stats/mean": torch.ones(1, 2)}), "are of shape"),
    "option": (lambda h, t: h["options"].update(sigma_mx=3), "did you mean 'sigma_max'"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_file_that_does_not_fit_is_refused(tmp_path, kind):
    change, message = CHANGES[kind]
    path = checkpoint.save(make(), tmp_path / "x.safetensors")
    edited(path, path, change)
    with pytest.raises(ValueError, match=message):
        loading.load(path)


def test_a_pickled_file_is_refused_unopened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the file was unpickled",))

    path = tmp_path / "x.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="is damaged or not a safetensors file"):
        loading.load(path)
