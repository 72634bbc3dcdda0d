"""Results that stay the same: torch's deterministic algorithms, and sums in a fixed order."""

import os

import pytest
import torch

from diffode.cli.app import run
from diffode.data.stats import data_stats
from diffode.devices import deterministic
from diffode.fields.revealed import RevealedKarras, sums_of_columns
from diffode.runs import history
from diffode.training.denoising import Denoising
from tests.runs import TINY, figures, refused


@pytest.fixture(autouse=True)
def workspace(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")


def flags():
    cudnn = torch.backends.cudnn
    both = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), both, cudnn.deterministic, cudnn.benchmark


def unordered(*given):
    """An operation that has no deterministic form on any device."""
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_the_switches_are_set_for_a_while():
    before = flags()
    with deterministic():
        assert flags() == (True, False, True, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        with deterministic(False):
            assert torch.are_deterministic_algorithms_enabled()
    assert flags() == before
    with pytest.raises(ZeroDivisionError), deterministic():
        raise ZeroDivisionError
    assert flags() == before
    torch.use_deterministic_algorithms(True, warn_only=True)
    with deterministic():
        assert flags()[:2] == (True, False)
    assert flags()[:2] == (True, True)
    torch.use_deterministic_algorithms(False)


def test_what_cannot_be_deterministic_is_one_line():
    said = r"^put_ of torch .* has no deterministic form on this device; leave"
    with pytest.raises(ValueError, match=said), deterministic():
        unordered()
    with pytest.raises(RuntimeError, match="another"), deterministic():
        raise RuntimeError("another")


def test_a_training_that_cannot_is_refused_and_leaves_no_run(tmp_path, monkeypatch, capsys):
    forward = Denoising.forward
    monkeypatch.setattr(Denoising, "forward", lambda *given: unordered() or forward(*given))
    given = ["train", "edm", "moons", *TINY, "--out", tmp_path / "run", "--deterministic"]
    assert "error: put_ of torch" in refused(capsys, *given)
    assert not (tmp_path / "run" / "config.json").exists() and flags()[0] is False


@pytest.mark.parametrize("name", ["edm", "poisson"])
def test_on_a_cpu_nothing_changes_and_the_run_says_so(tmp_path, name):
    outs = tmp_path / "plain", tmp_path / "fixed"
    for out, more in zip(outs, ([], ["--deterministic"]), strict=True):
        assert run(["train", name, "digits", *TINY, "--out", str(out), *more]) == 0
        drawn = ["sample", str(out), "--n", "4", "--out", str(out / "x.npz"), *more]
        assert run(drawn) == 0
    for file in ("checkpoints/step-00000002.safetensors", "x.npz"):
        one, two = ((out / file).read_bytes() for out in outs)
        assert one == two
    assert [figures(out / "config.json")["training"]["deterministic"] for out in outs] == [0, 1]
    assert [history.read(out)[0]["deterministic"] for out in outs] == [False, True]
    assert flags()[0] is False


# ------------------------------------------------------------------------------- sums in order


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (100,), (1, 28, 28)])
def test_sums_in_a_fixed_order_are_those_of_index_add(shape):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(300, *shape, generator=draw)
    prediction = RevealedKarras(data_stats(x), 4.0, 0.01, 80.0)
    c2 = torch.rand(5, x[0].numel(), dtype=torch.float64, generator=draw, requires_grad=True)
    groups = prediction.members.shape[1]
    added = c2.new_zeros(5, groups).index_add(1, prediction.group, c2)
    sums = sums_of_columns(c2, prediction.members)
    torch.testing.assert_close(sums, added, rtol=1e-14, atol=0)
    weights = torch.randn(5, groups, dtype=torch.float64, generator=draw)
    (one,) = torch.autograd.grad((sums * weights).sum(), c2)
    (two,) = torch.autograd.grad((added * weights).sum(), c2)
    assert torch.equal(one, two)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["edm", "poisson", "rectified"])
def test_on_a_gpu_the_same_command_gives_the_same_bits(tmp_path, name):
    outs = tmp_path / "one", tmp_path / "two"
    for out in outs:
        given = ["train", name, "digits", "--steps", "20", "--samples", "20", "--deterministic"]
        assert run([*given, "--device", "cuda", "--out", str(out)]) == 0
    one, two = ((out / "checkpoints/step-00000020.safetensors").read_bytes() for out in outs)
    assert one == two
