"""Critics and generators: shapes, rows apart, smoothness, time and labels, refusals."""

import pytest
import torch

from diffode.nn import critic_network, generator_network

EVENTS = [((2,), "mlp"), ((1, 8, 8), "mlp"), ((1, 8, 8), "conv"), ((3, 28, 28), "conv"),
          ((2, 13, 9), "conv"), ((1, 2, 3), "conv")]  # fmt: skip
each_event = pytest.mark.parametrize(("event", "kind"), EVENTS)
each_activation = pytest.mark.parametrize("activation", ["leaky", "silu", "softplus", "tanh"])


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@each_event
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("classes", [None, 3])
def test_a_critics_number_is_a_function_of_its_row(event, kind, timed, classes):
    critic = critic_network(event, kind, width=8, timed=timed, classes=classes)
    x, t = draw(5, *event), torch.linspace(0, 1, 5)
    y = None if classes is None else torch.arange(5) % 3
    whole = critic(x, t, y)
    assert whole.shape == (5,) and critic.event_shape == event
    for i in range(5):
        alone = critic(x[i : i + 1], t[i], None if y is None else y[i : i + 1])
        torch.testing.assert_close(alone, whole[i : i + 1])
    assert torch.equal(whole, critic.train()(x, t, y))


@each_event
def test_time_and_labels_matter_where_asked_for(event, kind):
    x = draw(3, *event)
    plain = critic_network(event, kind, width=8)
    assert torch.equal(plain(x, 0.1), plain(x, 0.9))
    told = critic_network(event, kind, width=8, timed=True, classes=2)
    assert not torch.equal(told(x, 0.1), told(x, 0.9))
    one, two = (told(x, 0.1, torch.full((3,), k)) for k in range(2))
    assert not torch.equal(one, two) and not torch.equal(one, told(x, 0.1))
    labelled = critic_network(event, kind, width=8, classes=2)
    assert torch.equal(labelled(x, 0.1), labelled(x, 0.9))


@each_activation
@pytest.mark.parametrize(("event", "kind"), [((3,), "mlp"), ((1, 5, 5), "conv")])
def test_smooth_says_whether_there_is_a_laplacian(event, kind, activation):
    critic = critic_network(event, kind, width=8, activation=activation)

    def single(x):
        return critic(x[None], 0.0)[0]

    hessian = torch.func.hessian(single)(draw(*event))
    assert critic.smooth == bool(hessian.abs().max() > 0)
    assert critic.smooth == (activation != "leaky")


@each_event
def test_every_weight_is_used(event, kind):
    critic = critic_network(event, kind, width=8, timed=True, classes=3)
    x, y = draw(6, *event), torch.arange(6) % 3
    (critic(x, 0.3, y).square().sum() + critic(x, 0.3).sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())
    generator = generator_network(event, 4, kind, width=8, classes=3)
    (generator(draw(6, 4), y).square().sum() + generator(draw(6, 4)).sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


@each_event
def test_every_pixel_reaches_the_critic(event, kind):
    critic = critic_network(event, kind, width=8)
    x = draw(4, *event).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x, 0.0).sum(), x)
    assert (gradient.abs().sum(0) > 0).all()


@each_event
@pytest.mark.parametrize("classes", [None, 3])
def test_a_generators_sample_is_a_function_of_its_row(event, kind, classes):
    generator = generator_network(event, 4, kind, width=8, classes=classes)
    z = draw(5, 4)
    y = None if classes is None else torch.arange(5) % 3
    whole = generator(z, y)
    assert whole.shape == (5, *event) and generator.event_shape == event
    for i in range(5):
        alone = generator(z[i : i + 1], None if y is None else y[i : i + 1])
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=1e-4, atol=1e-5)
    assert generator(z.double(), y).dtype == torch.float64


def test_the_seed_fixes_the_weights():
    state = torch.get_rng_state()
    for make in (
        lambda s: critic_network((2,), seed=s),
        lambda s: generator_network((2,), 3, seed=s),
    ):
        first, again, other = (make(s).state_dict() for s in (1, 1, 2))
        assert all(torch.equal(first[k], again[k]) for k in first)
        assert not all(torch.equal(first[k], other[k]) for k in first)
    assert torch.equal(state, torch.get_rng_state())


def test_the_kind_follows_the_event():
    assert type(critic_network((1, 8, 8))).__name__ == "MLPCritic"
    assert type(critic_network((1, 28, 28))).__name__ == "ConvCritic"
    assert type(generator_network((1, 28, 28), 8)).__name__ == "ConvGenerator"
    assert sum(p.numel() for p in critic_network((2,)).parameters()) == 33_537


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: critic_network((2,), "cnn"), "got kind 'cnn'"),
        (lambda: critic_network((2,), "conv"), r"convolutions take images \(C, H, W\)"),
        (lambda: critic_network((1, 1, 9), "conv"), r"convolutions take images \(C, H, W\)"),
        (lambda: critic_network((2,), width=0), "width 0"),
        (lambda: critic_network((1, 8, 8), "conv", depth=2), "got depth 2"),
        (lambda: critic_network((2,), activation="relu"), "got activation 'relu'; wanted leaky"),
        (lambda: critic_network((2,))(draw(3, 4), 0.0), r"got x of shape \(3, 4\)"),
        (lambda: critic_network((2,))(draw(3, 2), 0.0, torch.zeros(3)), "labels for a critic"),
        (lambda: generator_network((2,), 0), "latent 0"),
        (lambda: generator_network((2,), 3, "cnn"), "got kind 'cnn'"),
        (lambda: generator_network((2,), 3, "conv"), r"convolutions take images"),
        (lambda: generator_network((1, 8, 8), 3, "conv", depth=2), "got depth 2"),
        (
            lambda: generator_network((2,), 3)(draw(5, 2)),
            r"got z of shape \(5, 2\); wanted \(B, 3",
        ),
        (lambda: generator_network((2,), 3)(draw(5, 3), torch.zeros(5)), "labels for a generator"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
