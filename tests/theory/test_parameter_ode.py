"""Parameters that follow a game's ODE: exact factors, measured orders, Euler's own penalty."""

import math
from itertools import pairwise

import pytest
import torch

from diffode import Rng, build
from diffode.analysis import GameFlow, penalised
from diffode.training import Batch

ORDERS = {"euler": 1, "heun": 2, "rk4": 4}


def leaf(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def bilinear(**options):
    """The game min_x max_y xy, from (1, 0)."""
    x, y = leaf(1.0), leaf(0.0)
    return x, y, GameFlow([lambda: (x * y).sum(), lambda: -(x * y).sum()], [[x], [y]], **options)


def radius(x, y):
    return float(torch.cat((x, y)).detach().norm())


@pytest.mark.parametrize("h", [0.5, 0.1])
def test_euler_leaves_a_bilinear_game_by_the_exact_factor(h):
    x, y, flow = bilinear(method="euler", step=h)
    for n in range(1, 21):
        flow.step()
        assert radius(x, y) == pytest.approx((1 + h * h) ** (n / 2), rel=1e-12)


def test_rk4_stays_on_the_circle_within_its_order():
    """Its amplification on the imaginary axis is sqrt(1 - h^6 / 72 + h^8 / 576)."""
    for h in (0.5, 0.1):
        x, y, flow = bilinear(method="rk4", step=h)
        for _ in range(20):
            flow.step()
        exact = (1 - h**6 / 72 + h**8 / 576) ** 10
        assert radius(x, y) == pytest.approx(exact, rel=1e-12)
    assert abs(radius(x, y) - 1) < 1e-6


def test_the_regulariser_damps_the_game():
    """|grad_x xy|^2 = y^2 pulls y by -2 lambda y: an oscillator with that friction."""
    damping, h = 0.4, 0.02
    x, y, flow = bilinear(method="rk4", step=h, regulariser=damping / 2)
    for _ in range(500):
        flow.step()
    matrix = torch.tensor([[0.0, -1.0], [1.0, -damping]], dtype=torch.float64)
    expected = torch.linalg.matrix_exp(10 * matrix)[:, 0]
    # the pull is a step of Euler's beside the flow's: first order in h
    torch.testing.assert_close(torch.cat((x, y)).detach(), expected, rtol=0, atol=4 * h * damping)
    assert radius(x, y) < 0.2
    for _ in range(1000):
        flow.step()
    assert radius(x, y) < 1e-2


@pytest.mark.parametrize("method", ORDERS)
def test_orders_on_a_game_with_a_known_flow(method):
    """L_1 = a x^2 / 2 + w xy and L_2 = a y^2 / 2 - w xy turn at w and shrink at a."""
    a, w, horizon = 0.3, 2.0, 1.0
    errors = []
    for steps in (20, 40, 80):
        x, y = leaf(1.0), leaf(0.5)
        losses = [
            lambda x=x, y=y: (a * x * x / 2 + w * x * y).sum(),
            lambda x=x, y=y: (a * y * y / 2 - w * x * y).sum(),
        ]
        flow = GameFlow(losses, [[x], [y]], method, horizon / steps)
        for _ in range(steps):
            flow.step()
        c, s = math.cos(w * horizon), math.sin(w * horizon)
        expected = math.exp(-a * horizon) * leaf(c - 0.5 * s, s + 0.5 * c).detach()
        errors.append(float((torch.cat((x, y)).detach() - expected).norm()))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(ORDERS[method], abs=0.15)


def valley(p):
    """A loss whose gradient is not linear."""
    return (p[0].cos() + 0.5 * (p[1] - p[0].square()).square() + 0.1 * p[1].pow(4)).sum()


def test_euler_is_gradient_descent():
    p = leaf(0.8, -0.3)
    optimiser = torch.optim.SGD([q := leaf(0.8, -0.3)], lr=0.05)
    flow = GameFlow([lambda: valley(p)], [[p]], "euler", 0.05)
    for _ in range(10):
        flow.step()
        optimiser.zero_grad()
        valley(q).backward()
        optimiser.step()
    torch.testing.assert_close(p, q, rtol=0, atol=1e-13)


def test_a_step_of_gradient_descent_follows_the_penalised_loss():
    """Its distance from L's flow is of order h^2; from that of L + (h/4) |grad L|^2, h^3."""
    gaps = {"plain": [], "penalised": []}
    for h in (0.04, 0.02, 0.01):
        p = leaf(0.8, -0.3)
        GameFlow([lambda p=p: valley(p)], [[p]], "euler", h).step()
        for name, kept in gaps.items():
            q = leaf(0.8, -0.3)
            plain = lambda q=q: valley(q)  # noqa: E731
            loss = plain if name == "plain" else penalised(plain, [q], h)
            exact = GameFlow([loss], [[q]], "rk4", h / 10)
            for _ in range(10):
                exact.step()
            kept.append(float((p - q).detach().norm()))
    for name, order in (("plain", 2), ("penalised", 3)):
        for coarse, fine in pairwise(gaps[name]):
            assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


def gan(**options):
    """The flow of a GAN's weights on one batch, the generator being the first player."""
    objective = build("gan", (2,), width=16, depth=2, activation="silu").double()
    x = torch.tensor([3.0, -1.0]) + Rng(1).normal("data", (64, 2), torch.float64)
    batch = Batch(x)
    losses = [
        lambda name=name: objective(name, batch, Rng(0))[0] for name in ("generator", "critic")
    ]
    players = [objective.generated.generator, objective.critic]
    flow = GameFlow(losses, [list(player.parameters()) for player in players], **options)
    return objective, losses, flow


def weights(objective):
    return torch.cat([p.detach().flatten() for p in objective.parameters()])


def test_euler_is_simultaneous_gradient_descent_of_a_gan():
    descended, losses, flow = gan()
    slopes = [
        torch.autograd.grad(loss(), own) for loss, own in zip(losses, flow.params, strict=True)
    ]
    with torch.no_grad():
        for own, slope in zip(flow.params, slopes, strict=True):
            for p, g in zip(own, slope, strict=True):
                p -= 0.05 * g
    objective, _, flow = gan(method="euler", step=0.05)
    flow.step()
    torch.testing.assert_close(weights(objective), weights(descended), rtol=0, atol=1e-13)


def test_a_gans_weights_follow_their_flow():
    """Halved steps of Heun's method come closer to RK4's by their order."""
    ends = {}
    for method, steps in (("heun", 8), ("heun", 16), ("rk4", 32)):
        objective, _, flow = gan(method=method, step=0.8 / steps)
        for _ in range(steps):
            flow.step()
        ends[method, steps] = weights(objective)
    gaps = [float((ends["heun", n] - ends["rk4", 32]).norm()) for n in (8, 16)]
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(2, abs=0.3)


def test_the_regulariser_lowers_the_generators_gradient_by_the_critic():
    plain, _, flow = gan(step=1e-3)
    flow.step()
    ruled, losses, flow = gan(step=1e-3, regulariser=1.0)

    def slope():
        own = torch.autograd.grad(losses[0](), flow.params[0])
        return float(sum(g.square().sum() for g in own))

    flow.step()
    for a, b in zip(plain.field.parameters(), ruled.field.parameters(), strict=True):
        assert torch.equal(a, b)
    after = slope()
    ruled.critic.load_state_dict(plain.critic.state_dict())
    assert after < slope()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rk5"}, "one of euler, heun, rk4"),
        ({"step": 0.0}, "step > 0"),
        ({"regulariser": -1.0}, "regulariser >= 0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        bilinear(**options)
    x = leaf(1.0)
    with pytest.raises(ValueError, match="one each"):
        GameFlow([], [[x]])
