"""Networks: shapes, rows that do not see each other, gradients everywhere, seeds, learning."""

import pytest
import torch

from diffode.nn import MLP, DiT, Embedding, UNet, network, seeded
from diffode.nn.embeddings import fourier

EVENTS = [(2,), (64,), (1, 8, 8), (1, 7, 9), (3, 28, 28)]
BUILDS = {
    "mlp (2,)": lambda **kw: MLP((2,), width=32, depth=2, **kw),
    "mlp (1, 3, 5)": lambda **kw: MLP((1, 3, 5), width=32, depth=2, **kw),
    "unet (1, 8, 8)": lambda **kw: UNet((1, 8, 8), 8, **kw),
    "unet (3, 7, 9)": lambda **kw: UNet((3, 7, 9), 4, (2, 4, 6), attention=2, **kw),
    "dit (1, 8, 8)": lambda **kw: DiT((1, 8, 8), 32, 2, **kw),
    "dit (5, 7, 9)": lambda **kw: DiT((5, 7, 9), 128, 1, 3, **kw),
}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(net, rows, seed=0):
    """Samples, conditioning numbers in [-10, 10] and labels, the null label among them."""
    cond = normal(rows, net.conditions, seed=seed + 1).mul(3).clamp(-10, 10)
    y = None if net.classes is None else torch.arange(rows) % (net.classes + 1)
    return normal(rows, *net.event_shape, seed=seed), cond, y


def perturbed(net):
    """The network away from its zero initialisation, so that everything has an effect."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return net


@pytest.fixture(params=BUILDS)
def build(request):
    def make(**options):
        with seeded(0):
            return perturbed(BUILDS[request.param](**options))

    return make


@pytest.mark.parametrize(
    ("shape", "kind"),
    [(s, "mlp") for s in EVENTS]
    + [(s, k) for k in ("unet", "dit") for s in EVENTS if len(s) == 3],
)
def test_output_has_the_shape_of_x(shape, kind):
    net = network(shape, kind, width=16, depth=1)
    for rows in (0, 1, 3):
        x, cond, _ = inputs(net, rows)
        out = net(x, cond)
        assert out.shape == x.shape
        assert out.is_contiguous()
        assert not out.any(), "the last layer starts at zero"


@pytest.mark.parametrize("kind", ["unet", "dit"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (4, 4), (5, 31), (33, 6)])
def test_image_networks_take_any_size(kind, size):
    net = perturbed(network((2, *size), kind, width=8, depth=1))
    x, cond, _ = inputs(net, 2)
    assert net(x, cond).shape == x.shape
    assert net(x, cond).isfinite().all()


def test_kind_follows_the_event():
    kinds = {(2,): MLP, (3072,): MLP, (1, 8, 8): MLP, (1, 16, 16): MLP, (1, 16, 17): UNet}
    assert {shape: type(network(shape, width=8, depth=1)) for shape in kinds} == kinds


@pytest.mark.parametrize(("side", "coarsest"), [(8, 4), (17, 5), (28, 7), (32, 8), (64, 8)])
def test_unet_attends_at_a_coarse_resolution(side, coarsest):
    net, seen = network((1, side, side), "unet", width=4), []
    net.bottom.attention.register_forward_hook(lambda _, __, out: seen.append(out.shape[2:]))
    x, cond, _ = inputs(net, 1)
    net(x, cond)
    assert seen == [(coarsest, coarsest)]


def test_rows_do_not_see_each_other(build):
    net = build(classes=3, conditions=2, extra=2)
    for rows in {5, *net.event_shape}:  # where a wrong broadcast would go unnoticed
        x, cond, y = inputs(net, rows)
        singles = [net(x[i : i + 1], cond[i : i + 1], y[i : i + 1]) for i in range(rows)]
        for batch, single in zip(net(x, cond, y), zip(*singles, strict=True), strict=True):
            torch.testing.assert_close(batch, torch.cat(single), atol=1e-5, rtol=1e-5)


def test_every_parameter_has_a_gradient(build):
    net = build(classes=3, extra=1)
    out, scalars = net(*inputs(net, 8))
    (out.square().sum() + scalars.square().sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_a_new_network_has_gradients_without_labels_or_scalars():
    for shape in [(2,), (1, 20, 20)]:
        net = network(shape, width=8, depth=2)
        x, cond, _ = inputs(net, 3)
        (net(x, cond) - x).square().sum().backward()
        assert all(parameter.grad is not None for parameter in net.parameters())


def test_labels(build):
    net = build(classes=3)
    x, cond, _ = inputs(net, 4)
    outs = [net(x, cond, torch.full((4,), label)) for label in range(4)]
    torch.testing.assert_close(net(x, cond), outs[3], atol=0, rtol=0)
    for i in range(4):
        for j in range(i):
            assert (outs[i] - outs[j]).abs().flatten(1).amax(1).min() > 1e-3


def test_each_conditioning_number_matters(build):
    net = build(conditions=2)
    x, cond, _ = inputs(net, 4)
    for k in range(2):
        moved = cond.clone()
        moved[:, k] += 0.5
        assert (net(x, moved) - net(x, cond)).abs().flatten(1).amax(1).min() > 1e-3


def test_embedding_tells_numbers_apart():
    cond = torch.linspace(-10, 10, 401)[:, None]  # steps of 0.05
    gap = torch.cdist(fourier(cond), fourier(cond)) + 9 * torch.eye(len(cond))
    assert gap.min() > 0.5
    assert fourier(cond.double()).dtype == torch.float64


def test_numbers_and_labels_weigh_alike_at_the_start():
    """The spread of the embedding over c and over y, before training."""
    with seeded(0):
        embedding = Embedding(128, classes=10)
    cond, y = normal(500, 1), torch.arange(500) % 10
    over_cond = embedding(cond, torch.zeros_like(y)).std(0).mean()
    over_labels = embedding(torch.zeros_like(cond), y).std(0).mean()
    assert 0.5 < over_cond / over_labels < 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_numbers_keep_their_dtype(dtype):
    """In a network of any precision 9.02 is not 9, though it is when rounded to bfloat16."""
    net = perturbed(network((2,), width=32)).to(dtype)
    x, cond = normal(4, 2).to(dtype), torch.full((4, 1), 9.0)
    out, near = net(x, cond), net(x, cond + 0.02)
    assert out.dtype == dtype
    assert (out != near).any(1).all()


def test_extra_scalars(build):
    net = build(extra=3)
    x, cond, _ = inputs(net, 4)
    out, scalars = net(x, cond)
    assert out.shape == x.shape
    assert scalars.shape == (4, 3)
    changed = net(normal(*x.shape, seed=9), cond)[1]
    assert (changed - scalars).abs().min(0).values.min() > 1e-5


def test_divergence_by_forward_and_reverse_mode(build):
    """What likelihoods need: both Jacobians exist, under vmap too, and agree."""
    net = build().double()
    x, cond = (v.double() for v in inputs(net, 2)[:2])
    v = normal(*x.shape, seed=5).double()
    forward = torch.func.jvp(lambda x: net(x, cond), (x,), (v,))[1]
    x.requires_grad_()
    (reverse,) = torch.autograd.grad(net(x, cond), x, v, create_graph=True)
    torch.testing.assert_close((forward * v).sum(), (reverse * v).sum())
    reverse.square().sum().backward()  # a second derivative

    def one(x, cond):
        return net(x[None], cond[None])[0]

    each = torch.func.vmap(torch.func.jacrev(one))(x.detach(), cond).flatten(1).unflatten(1, (-1,))
    event = x[0].numel()
    jv = each.view(2, event, event) @ v.flatten(1)[..., None]
    torch.testing.assert_close(jv.flatten(1), forward.flatten(1))


@pytest.mark.parametrize("shape", [(2,), (1, 20, 20)])
def test_weights_depend_on_the_seed_alone(shape):
    state = torch.get_rng_state()
    first = network(shape, width=8, classes=2, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    again = network(shape, width=8, classes=2, seed=5).state_dict()
    other = network(shape, width=8, classes=2, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["inner.weight"], other["inner.weight"])
    assert all(value.is_contiguous() for value in first.values()), "safetensors refuses others"


def test_seeded_keeps_the_state_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"), seeded(1):
        torch.rand(3)
        raise RuntimeError("inside")
    assert torch.equal(torch.get_rng_state(), state)


def regression(net, steps, lr):
    """First and last loss of Adam on a smooth function of x, cond and y at 32 fixed points."""
    x, cond, y = inputs(net, 32)
    wanted = torch.sin(2 * x.roll(1, -1)) * torch.cos(cond / 2).view(-1, *[1] * (x.ndim - 1))
    wanted = wanted + 0.5 * y.view(-1, *[1] * (x.ndim - 1))
    optimiser, losses = torch.optim.Adam(net.parameters(), lr), []
    for _ in range(steps):
        loss = (net(x, cond, y) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def test_mlp_learns():
    first, last = regression(network((2,), width=64, depth=2, classes=2), 60, 5e-3)
    assert last < first / 10


def test_unet_learns():
    first, last = regression(network((1, 8, 8), "unet", width=8, classes=2), 30, 5e-3)
    assert last < first / 2


def test_dit_learns():
    first, last = regression(network((1, 8, 8), "dit", width=32, depth=2, classes=2), 60, 5e-3)
    assert last < first / 2


def test_patches_that_trade_places_are_told_apart():
    """Positions: without them a transformer does not see where a patch lies."""
    net = perturbed(network((1, 8, 8), "dit", width=32, depth=1, patch=4))
    x, cond, _ = inputs(net, 1)
    for axis in (2, 3):
        swapped = net(x.roll(4, axis), cond).roll(4, axis)
        assert (swapped - net(x, cond)).abs().max() > 1e-3
    net.places.zero_()
    torch.testing.assert_close(net(x.roll(4, 2), cond).roll(4, 2), net(x, cond))


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"\(channels, height, width\), got \(2,\); use an MLP"):
        network((2,), "unet")
    with pytest.raises(ValueError, match="no network named 'cnn'; networks: mlp, unet"):
        network((2,), "cnn")
    with pytest.raises(ValueError, match="got width 0; want 1 or more"):
        network((2,), width=0)
    with pytest.raises(ValueError, match=r"got event_shape \(3, 0\)"):
        network((3, 0))
    net = network((2,), width=8, classes=3)
    x, cond, y = inputs(net, 4)
    with pytest.raises(ValueError, match=r"got x of shape \(2, 4\), want \(2, 2\)"):
        net(x.T, cond, y)
    with pytest.raises(ValueError, match=r"got cond of shape \(4,\), want \(4, 1\)"):
        net(x, cond[:, 0], y)
    with pytest.raises(ValueError, match=r"got y of shape \(3,\), want \(4,\)"):
        net(x, cond, y[:3])
    with pytest.raises(
        ValueError, match="got labels from 0 to 4; use 0 to 3, where 3 is the null"
    ):
        net(x, cond, torch.arange(4) * 4 // 3)
    with pytest.raises(ValueError, match="labels for a network without"):
        network((2,), width=8)(x, cond, y)
