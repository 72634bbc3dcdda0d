"""What a training computes on: number formats, the scaler of fp16, and pieces of unequal size."""

import pytest
import torch

from diffode import build, registry, train
from diffode.data import load
from diffode.training import data_stats
from diffode.training.hardware import Hardware

DIGITS = load("digits")
X, Y = DIGITS.train[:60], DIGITS.train_labels[:60]


def losses(name, **options):
    """Of three steps, each phase's."""
    labels = 10 if name == "classifier" else None
    objective = build(name, X.shape[1:], labels, stats=data_stats(X), width=8, depth=1)
    data = (X, Y) if labels else X
    states = train(objective, data, steps=3, device="cpu", **options)
    return [loss for state in states for loss in state.losses.values()]


@pytest.mark.parametrize("name", registry.names("recipe"))
def test_pieces_of_unequal_size_add_up_to_the_whole(name):
    """16 rows in pieces of 6, 5 and 5; those of several processes are weighed alike."""
    whole = losses(name, batch=16)
    assert losses(name, batch=16, accumulate=3) == pytest.approx(whole, rel=1e-4)


def test_the_scaler_of_fp16_leaves_out_a_step_whose_gradient_overflowed():
    hardware = Hardware("cpu", "no")
    hardware._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.SGD([weight], 0.5)
    found = []
    for gradient in (torch.inf, 1.0):
        optimiser.zero_grad()
        hardware.differentiate((weight * gradient).sum())
        hardware.unscale(optimiser)
        before = weight.detach().clone()
        found.append((hardware.step(optimiser), torch.equal(weight, before)))
    assert found == [(False, True), (True, False)]
    assert weight.tolist() == [0.5, 0.5], "the gradient is given its own size again"


@pytest.mark.parametrize(("precision", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_computes_in_the_number_format(precision, dtype):
    layer, hardware = torch.nn.Linear(2, 2), Hardware("cpu", precision)
    with hardware.numbers():
        assert layer(torch.ones(1, 2)).dtype == dtype
    assert layer(torch.ones(1, 2)).dtype == torch.float32
