"""Divergences of networks that torch.vmap or torch.func refuse: another way, the same numbers."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from diffode import likelihood_card, log_prob
from diffode.fields import VP, Learned
from diffode.fields.precond import VPrediction
from diffode.likelihood.divergence import divergence
from diffode.priors import Normal


class Tanh(torch.autograd.Function):
    """Written for plain differentiation alone."""

    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)


class Network(nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.first, self.last = kind, nn.Linear(1, 8), nn.Linear(8, 1)

    def forward(self, x, cond, y=None):
        h = self.first(x[..., None] + cond[:, :1, None])
        if self.kind == "attention":
            h = scaled_dot_product_attention(h[:, None], h[:, None], h[:, None])[:, 0]
        elif self.kind == "plain attention":
            h = (h @ h.mT / 8**0.5).softmax(-1) @ h
        else:
            h = h.tanh() if self.kind == "tanh" else Tanh.apply(h)
        return self.last(h)[..., 0]


def field(kind):
    return Learned(Network(kind), VP(), VPrediction(), Normal(), torch.zeros(4), 1.0)


POINTS = torch.linspace(-1.5, 2, 12).view(3, 4)


@pytest.mark.parametrize(
    ("kind", "like", "way"),
    [
        ("tanh", "tanh", "together"),
        ("attention", "plain attention", "together"),
        ("function", "tanh", "apart"),
    ],
)
@pytest.mark.parametrize("trace", ["exact", "hutchinson", "hutch++"])
def test_the_density_is_the_same_in_each_way_and_the_way_is_told(kind, like, way, trace):
    settings = {"trace": trace, "solver": "heun", "steps": 6, "probes": 2, "batch": 2}
    found, true = (log_prob(field(k), POINTS, **settings) for k in (kind, like))
    torch.testing.assert_close(found.nats, true.nats, rtol=1e-5, atol=1e-5)
    assert found.way == way
    assert not found.nats.requires_grad


def test_the_card_says_that_products_were_formed_apart():
    card = likelihood_card(field("function"), POINTS, solver="heun", steps=4)
    assert card.figures()["products"] == "apart"
    assert "one product followed the other" in str(card)
    assert "product" not in str(likelihood_card(field("tanh"), POINTS, solver="heun", steps=4))


@pytest.mark.parametrize("kind", ["attention", "function"])
def test_divergences_in_every_way_can_be_differentiated(kind):
    like = {"attention": "plain attention", "function": "tanh"}[kind]
    found, true = [], []
    for k, out in ((kind, found), (like, true)):
        own, x = field(k), POINTS.clone().requires_grad_()
        divergence(own, x, 0.4).value.sum().backward()
        out += [x.grad, *(p.grad for p in own.network.parameters())]
    for one, other in zip(found, true, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_fails_in_every_way_says_so_itself():
    class Broken(Network):
        def forward(self, x, cond, y=None):
            raise RuntimeError("broken in every way")

    own = field("tanh")
    own.network = Broken("tanh")
    with pytest.raises(RuntimeError, match="broken in every way"):
        divergence(own, POINTS, 0.4)


def test_a_velocity_that_does_not_depend_on_the_points_has_no_divergence():
    from diffode.likelihood.products import Known, Linearised

    known = Known()
    known.way = "apart"
    at = Linearised(lambda x: torch.ones_like(x), POINTS, known)
    assert not at.pull(POINTS[None]).any()
