"""``torch.compile``: compiled fields are fields, and checkpoints are those of plain objectives."""

import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import diffode
from diffode import encode, log_prob, sample
from diffode.data import load
from diffode.fields import VP, AffineField, Field, Mixture, classifier_free, rescheduled
from diffode.likelihood.card import likelihood_card
from diffode.sampling.encoding import decode
from diffode.training import checkpoint, data_stats
from diffode.training.trainer import train

MOONS = load("moons").train
PLACES = ["plain", "network", "field", "objective"]
pytestmark = pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")


@pytest.fixture(autouse=True)
def graphs_anew():
    """No test meets the limit of graphs that those before it in this process have used up."""
    torch.compiler.reset()


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
    kept = load_file(checkpoint.file_at(files / place))
    plain = load_file(checkpoint.file_at(files / "plain"))
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
    path = checkpoint.file_at(files / "plain")
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


# --------------------------------------------------------------------------------------- sampling


def mixture():
    means = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    return Mixture(torch.ones(2), means, torch.tensor([0.3, 0.3]), VP())


FIELDS = {
    "learned": lambda: made().field,
    "poisson": lambda: diffode.build("poisson", (2,), None, data_stats(MOONS), width=16).field,
    "mixture": mixture,
    "gan": lambda: diffode.build("gan", (2,), None, data_stats(MOONS), width=16).field,
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_compiled_field_is_a_field(name):
    field = FIELDS[name]()
    compiled = torch.compile(field, backend="eager")
    assert isinstance(compiled, Field)
    assert isinstance(compiled, AffineField) == isinstance(field, AffineField)
    assert not isinstance(torch.compile(nn.Linear(2, 2), backend="eager"), Field)
    assert torch.equal(sample(compiled, 5).x, sample(field, 5).x)
    if name == "gan":
        return
    x = torch.tensor([[0.3, -0.2], [1.0, 2.0], [-1.0, 0.5]])
    for solver in ("heun", "dopri5", "dopri5-rows"):
        steps = {"steps": 5} if solver == "heun" else {"rtol": 1e-3, "atol": 1e-3}
        one, two = (encode(f, x, solver, **steps).x for f in (compiled, field))
        assert torch.equal(one, two)
        back = [decode(f, one, solver, **steps).x for f in (compiled, field)]
        assert torch.equal(*back)
    loose = {"rtol": 1e-3, "atol": 1e-3}
    one, two = (log_prob(f, x, **loose).nats for f in (compiled, field))
    assert torch.equal(one, two)
    assert str(likelihood_card(compiled, x, **loose)) == str(likelihood_card(field, x, **loose))
    moved = rescheduled(compiled, "theta")
    assert torch.equal(moved.velocity(x, 0.5), rescheduled(field, "theta").velocity(x, 0.5))


@pytest.mark.parametrize("place", ["network", "objective"])
def test_a_compiled_network_samples_and_has_a_density(place):
    x = torch.tensor([[0.3, -0.2], [1.0, 2.0], [-1.0, 0.5]])
    fields = [made(p).field for p in (place, "plain")]
    one, two = (sample(f, 5, nfe=6).x for f in fields)
    torch.testing.assert_close(one, two)
    one, two = (log_prob(f, x, rtol=1e-3, atol=1e-3).nats for f in fields)
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("name", ["edm", "poisson"])
def test_a_compiled_network_is_guided(name):
    fields = [
        diffode.build(name, (2,), 3, data_stats(MOONS), width=16, depth=1).field for _ in range(3)
    ]
    inner = fields[0].inner if name == "poisson" else fields[0]
    inner.network = torch.compile(inner.network, backend="eager")
    fields[1] = torch.compile(fields[1], backend="eager")
    drawn = [
        sample(classifier_free(f, 2.0, (0.1, 10.0)), 5, nfe=6, y=torch.arange(5) % 3)
        for f in fields
    ]
    for one in drawn[:2]:
        torch.testing.assert_close(one.x, drawn[2].x)
        assert one.network_calls == drawn[2].network_calls


@pytest.mark.parametrize("kind", ["unet", "dit", "mlp"])
def test_a_network_is_one_graph_in_training_and_sampling(kind):
    """With dropout, labels and rows of two counts: ``fullgraph`` refuses any break."""
    images, labels = load("digits").train[:64], load("digits").train_labels[:64]
    more = {} if kind == "mlp" else {"dropout": 0.2}
    sizes = {"network": kind, "width": 16, "depth": 1, **more}
    losses, drawn = [], []
    for compiled in (False, True):
        objective = diffode.build("edm", (1, 8, 8), 10, data_stats(images), **sizes)
        if compiled:
            whole = {"backend": "aot_eager", "fullgraph": True}
            objective.field.network = torch.compile(objective.field.network, **whole)
        last = list(train(objective, (images, labels), steps=3, batch=16, device="cpu"))[-1]
        losses.append(last.losses["field"])
        drawn.append(sample(objective.field, 5, nfe=4, y=torch.arange(5)).x)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    torch.testing.assert_close(*drawn, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_inductor_trains_saves_and_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))  # of this processor
    try:
        torch.compile(lambda x: x * torch.arange(3.0) + 1)(torch.ones(3))
    except Exception as error:
        pytest.skip(f"inductor compiles nothing here, as without a C++ compiler: {error}")
    objective = made()
    objective.field.network = torch.compile(objective.field.network)
    options = {"steps": 2, "batch": 16, "device": "cpu"}
    last = list(train(objective, MOONS, out=tmp_path, **options))[-1]
    plain = trained(tmp_path / "plain", "plain", 2)
    assert last.losses["field"] == pytest.approx(plain.losses["field"], rel=1e-3)
    one, two = (diffode.load(f).field for f in (tmp_path, tmp_path / "plain"))
    torch.testing.assert_close(sample(one, 5).x, sample(two, 5).x, rtol=1e-2, atol=1e-3)
