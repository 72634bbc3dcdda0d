"""A network that is given itself: a module, a class, a function."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import diffode
from diffode.data import load
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.training.trainer import train

SMALL = {"steps": 2, "batch": 16, "device": "cpu"}


class Net(nn.Module):
    """As somebody would write it, with torch's own dropout."""

    def __init__(self, event_shape=(2,), *, conditions=1, classes=None, extra=0, width=8):
        super().__init__()
        self.first, self.last = nn.Linear(3, width), nn.Linear(width, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x, cond, y=None):
        return self.last(self.dropout(self.first(torch.cat((x, cond[:, :1]), 1)).relu()))


def make(event_shape, *, conditions, classes, extra, width):
    return Net(event_shape, width=width or 5)


def drawn(field):
    return diffode.sample(field, 4, nfe=4).x


def test_a_module_is_copied_trained_and_sampled():
    module = Net()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    run = diffode.fit("edm", "moons", network=module, **SMALL)
    assert type(run.field.network) is Net and run.field.network is not module
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not torch.equal(run.objective.field.network.first.weight, before["first.weight"])
    assert torch.equal(drawn(run.field), drawn(run.field)), "nothing is dropped in sampling"
    assert run.plan.resolved["network"]["kind"] == "Net"
    assert torch.equal(
        diffode.build("edm", (2,), network=module).field.network.first.weight,
        before["first.weight"],
    )


def test_torchs_own_dropout_acts_in_training_alone():
    objective = diffode.build("edm", (2,), network=Net())
    modes = [s.objective.training for s in train(objective, load("moons").train, **SMALL)]
    assert modes == [True, True]
    last = list(train(objective.eval(), load("moons").train, **SMALL))[-1]
    assert last.objective.training and not last.averaged.training


@pytest.mark.parametrize("network", [Net, make], ids=["class", "function"])
def test_what_a_module_holds_is_stored_as_its_place(network, tmp_path):
    run = diffode.fit("edm", "moons", network=network, width=7, out=tmp_path, **SMALL)
    name = f"tests.test_own_network:{network.__name__}"
    assert run.field.network.first.out_features == 7
    assert json.loads((tmp_path / "config.json").read_text())["options"]["network"] == name
    assert torch.equal(drawn(diffode.load(tmp_path).field), drawn(run.field))
    opened = "import sys, diffode; diffode.load(sys.argv[1], trust=len(sys.argv) > 2)"
    said = [
        subprocess.run([sys.executable, "-c", opened, tmp_path, *more], capture_output=True)
        for more in ([], ["trust"])
    ]
    assert said[0].returncode == 1 and b"is code, which is run only where" in said[0].stderr
    assert said[1].returncode == 0, said[1].stderr


def test_a_run_of_an_object_goes_on_and_opens_where_it_is_given(tmp_path):
    module = Net()
    run = diffode.fit("edm", "moons", network=module, out=tmp_path, **SMALL)
    assert torch.equal(drawn(diffode.load(tmp_path).field), drawn(run.field)), "it is known here"
    name = run.plan.options["network"]
    assert name.startswith("object Net ") and name not in diffode.registry.names("network")
    del diffode.registry._TABLES["network"][name]  # as in another process
    message = r"the network 'object Net \w{12}' was given as an object.*load\(path, network="
    with pytest.raises(ValueError, match=message) as refusal:
        diffode.load(tmp_path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="was given as an object"):
        execute(Plan.read(tmp_path), out=tmp_path, resume=True)
    again = diffode.load(tmp_path, network=Net())
    assert torch.equal(drawn(again.field), drawn(run.field))
    with pytest.raises(ValueError, match="the checkpoint does not fit this objective"):
        diffode.load(tmp_path, network=Net(width=3))
    diffode.load(tmp_path, network=Net())
    plan = Plan.make("edm", "moons", network=module, **SMALL | {"steps": 3})
    assert len(execute(plan, out=tmp_path, resume=True).losses) == 1


def test_only_an_object_is_given_again(tmp_path):
    diffode.fit("edm", "moons", width=8, depth=1, out=tmp_path, **SMALL)
    with pytest.raises(ValueError, match="is 'auto', which its name finds; leave network= away"):
        diffode.load(tmp_path, network=Net())


def test_a_function_of_no_module_is_an_object_too():
    run = diffode.fit("edm", "moons", network=lambda shape, **told: Net(), **SMALL)
    assert run.plan.options["network"].startswith("object <lambda> ")


class Blind(Net):
    def forward(self, x):
        return x


class Flat(Net):
    def forward(self, x, cond, y=None):
        return super().forward(x, cond).flatten()


class Pair(Net):
    def forward(self, x, cond, y=None):
        return super().forward(x, cond), None


class Idle(nn.Identity):
    def forward(self, x, cond, y=None):
        return x


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (Blind(), {}, r"cannot be called as network\(x, cond, y\): too many positional"),
        (Flat(), {}, r"output is of shape \(\d+,\); wanted that of x, \(\d+, 2\)"),
        (Pair(), {}, "the network gave a tuple; wanted a tensor"),
        (
            Net(),
            {"field": "poisson", "objective": "regression"},
            r"gave a Tensor; wanted the pair",
        ),
        (Idle(), {}, "has no parameters, so there is nothing to train"),
        (Net(), {"width": 8}, "got width 8 for network 'object Net .*', which is made already"),
        (Net, {"depth": 8}, "takes no depth; it takes width"),
        (dict, {}, "network 'builtins:dict' is a builtin, which does not say what"),
        (nn.Linear, {}, r"cannot be made with \(event_shape, \*, conditions, classes, extra\)"),
        (7, {}, "got network of type int; wanted a torch module, a class or function that makes"),
        (Net(), {"field": "gan"}, "which makes no critic or generator"),
    ],
    ids=str,
)
def test_what_does_not_serve_as_a_network_is_told_in_a_line(network, options, message):
    with pytest.raises((TypeError, ValueError), match=message) as refusal:
        diffode.fit(
            **{"name": options.pop("field", "edm")},
            data="moons",
            network=network,
            **SMALL,
            **options,
        )
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_module_of_torchscript_is_refused():
    compiled = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(TypeError, match="does not say how it is called; give the module that"):
        diffode.fit("edm", "moons", network=compiled, **SMALL)
