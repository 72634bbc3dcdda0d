"""Feature spaces: their hashes, the classifiers shipped, and the command that trains one."""

import builtins

import pytest
import torch

from diffode.cli.app import run
from diffode.data import load
from diffode.data.source import whole
from diffode.metrics.classifier import (
    Classifier,
    accuracy,
    load_classifier,
    shipped,
    train_classifier,
    weights_hash,
)
from diffode.metrics.features import principal, space, usual
from tests.draws import Quick
from tests.runs import refused


@pytest.mark.parametrize(("data", "least"), [("digits", 0.97), ("fashion-mnist", 0.90)])
def test_classifiers_of_the_package_are_as_good_as_they_say(data, least):
    path = shipped(data)
    assert path.stat().st_size < 250_000
    net, about = load_classifier(path)
    assert about["accuracy"] >= least and about["data"] == data
    assert about["options"].keys() == {"epochs", "batch", "lr", "weight_decay", "seed"}
    try:
        d = load(data)
    except FileNotFoundError:
        pytest.skip(f"the files of {data} are not on this machine")
    share = accuracy(net, whole(d.test), d.test_labels)
    assert share == pytest.approx(about["accuracy"], abs=1e-3)


def test_the_command_gives_the_same_weights_every_time(tmp_path, capsys):
    hashes = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.safetensors"
        assert run(["features", "digits", "--set", "epochs=1", "--out", str(out)]) == 0
        hashes.append(load_classifier(out)[1]["hash"])
        torch.randn(3)  # the global state has no part in it
    printed = capsys.readouterr().out
    assert hashes[0] == hashes[1] and hashes[0] in printed and "of 359 held-out" in printed
    found = space(str(out), load("digits"))
    assert str(found) == f"digits-cnn@{hashes[0]}"


def test_training_leaves_the_threads_and_the_global_state_alone():
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train_classifier(load("digits"), epochs=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 17, 9)])
def test_the_classifier_takes_images_of_any_size(shape):
    net = Classifier(shape[0], 7).eval()
    x = Quick(1).normal("x", (5, *shape))
    assert net.features(x).shape == (5, 64) and net.answers(x).shape == (5,)


@pytest.mark.parametrize("name", ["pixels", "pca", "classifier"])
def test_features_are_matrices_of_float64_row_by_row(name):
    data = load("digits")
    found = space(name, data)
    x = data.test[:30].double()
    features = found(x)
    assert features.dtype == torch.float64 and features.ndim == 2 and len(found.hash) == 12
    assert torch.allclose(found(x[7:9]), features[7:9], atol=1e-5)


def test_principal_axes_are_those_of_numpys_svd():
    x = Quick(1).normal("x", (200, 5), torch.float64) * torch.tensor([5, 4, 3, 2, 1])
    centred = x - x.mean(0)
    theirs = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    ours = principal(x, 2)(x)
    assert torch.allclose(ours.abs(), (centred @ theirs.T).abs(), atol=1e-4)


def test_hashes_tell_spaces_apart():
    x, other = Quick(1).normal("x", (50, 5)), Quick(2).normal("x", (50, 5))
    hashes = [principal(v, k).hash for v in (x, other) for k in (2, 3)]
    assert len(set(hashes)) == 4 and principal(x, 2).hash == hashes[0]
    net = Classifier(1, 3)
    before = weights_hash(net)
    net.head.weight.data[0, 0] += 1e-3
    assert weights_hash(net) != before


def test_usual_spaces_suit_the_data():
    assert list(usual(load("digits"))) == ["classifier", "pixels"]
    assert list(usual(load("moons"))) == ["pixels"]


def test_inception_that_cannot_be_had_is_refused_in_one_line(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("torchmetrics"):
            raise ModuleNotFoundError("No module named 'torchmetrics'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="Inception network cannot be had here") as error:
        space("inception", load("digits"))
    assert "\n" not in str(error.value)


def test_what_has_no_classifier_is_refused_in_one_line(tmp_path, capsys):
    bad = tmp_path / "x.safetensors"
    bad.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not a classifier of diffode"):
        space(str(bad), load("digits"))
    assert "labelled images" in refused(capsys, "features", "moons", "--out", bad)
    assert "ends in .safetensors" in refused(capsys, "features", "digits", "--out", "x.pt")
    assert "has no labels" in refused(capsys, "features", "swiss-roll", "--out", bad)
