"""Dropout: only in training, and a function of (seed, step, row) alone."""

import pytest
import torch

import diffode
from diffode import Rng
from diffode.nn import network
from diffode.nn.dropout import Dropout, dropouts, dropping
from diffode.training import data_stats
from diffode.training.trainer import train
from tests.test_nn import inputs, perturbed

KINDS = ["unet", "dit"]


def made(kind):
    return perturbed(network((1, 8, 8), kind, width=16, depth=2, dropout=0.5))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_is_the_rate_and_the_mean_stays(rate):
    layer, h = Dropout(rate), torch.ones(200, 3, 67)
    with dropping([layer], Rng(0), 200):
        out = layer(h)
    assert (out == 0).double().mean().item() == pytest.approx(rate, abs=0.01)
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer(h), h), "nothing is dropped outside of training"
    values = (out == 0).double().flatten(1)
    assert torch.corrcoef(values).fill_diagonal_(0).abs().max() < 0.5, "rows drop apart"
    assert torch.corrcoef(values.T).fill_diagonal_(0).abs().max() < 0.5, "values drop apart"


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_drops_alike_in_any_batch(kind):
    net = made(kind)
    x, cond, _ = inputs(net, 6)
    with dropping(dropouts(net), Rng(1, step=3), 6):
        whole = net(x, cond)
    index = torch.tensor([4, 1])
    with dropping(dropouts(net), Rng(1, step=3).rows(index), 2):
        torch.testing.assert_close(net(x[index], cond[index]), whole[index], atol=1e-5, rtol=1e-5)
    for rng in (Rng(1, step=4), Rng(2, step=3)):
        with dropping(dropouts(net), rng, 6):
            assert not torch.allclose(net(x, cond), whole, atol=1e-3)
    assert not torch.allclose(net(x, cond), whole, atol=1e-3)


def trained(kind, **options):
    x = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    sizes = {"network": kind, "width": 16, "depth": 1, "dropout": 0.5}
    objective = diffode.build("edm", (1, 8, 8), stats=data_stats(x), **sizes)
    more = {"steps": 4, "batch": 8, "device": "cpu", "lr": 1e-2, "warmup": 0, **options}
    return [state.losses["field"] for state in train(objective, x, **more)], objective


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_with_dropout_goes_on_and_splits_as_any_other(kind, tmp_path):
    whole, objective = trained(kind)
    generator = trained(kind, out=tmp_path, save_every=2)
    (tmp_path / "checkpoints/step-00000004.safetensors").unlink()
    rest, _ = trained(kind, out=tmp_path, resume=tmp_path)
    assert generator[0] == whole
    assert rest == pytest.approx(whole[2:], rel=1e-5)
    assert trained(kind, accumulate=2)[0] == pytest.approx(whole, rel=1e-4)
    field = objective.field
    assert torch.equal(diffode.sample(field, 3, nfe=4).x, diffode.sample(field, 3, nfe=4).x)
