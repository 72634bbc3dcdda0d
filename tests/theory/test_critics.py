"""Banks of critics: which stage serves a time, how they are recorded, and what samples follow."""

import copy

import pytest
import torch

from diffode import encode, log_prob, sample
from diffode.fields import VP, CriticBank, Empirical, MonoFlow
from diffode.likelihood.maps import euler_log_prob
from diffode.nn import critic_network
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.sampling.encoding import decode, round_trip
from diffode.solvers import get_solver, grid


def critic(seed=0, **options):
    network = critic_network((2,), width=16, depth=2, activation="silu", seed=seed, **options)
    return network.double()


def bank(stages=5, **options):
    made = CriticBank(critic(), stages, **options)
    for k in range(stages):
        made.record(k, critic(k))
    return made


class Label(torch.nn.Module):
    """A critic that gives its own number."""

    event_shape, smooth = (2,), True

    def __init__(self, number):
        super().__init__()
        self.number = torch.nn.Parameter(torch.tensor(float(number)))

    def forward(self, x, t, y=None):
        return self.number + 0 * x[:, 0]


@pytest.mark.parametrize("horizon", [1.0, 0.3, 20.0, 1 / 3])
def test_every_edge_belongs_to_its_stage(horizon):
    """However t_k was computed: k T / N, linspace, a running sum, or float32."""
    for count in range(1, 201):
        made = CriticBank(Label(0), count, horizon)
        k = torch.arange(count)
        products = torch.tensor([i * horizon / count for i in range(count)], dtype=torch.float64)
        shares = torch.tensor([i / count * horizon for i in range(count)], dtype=torch.float64)
        spaced = torch.linspace(0, horizon, count + 1, dtype=torch.float64)[:-1]
        summed = torch.full((count,), horizon / count, dtype=torch.float64).cumsum(0) - (
            horizon / count
        )
        for times in (products, shares, spaced, summed, products.float().double()):
            assert torch.equal(made.stage_at(times), k)
        middle = products + 0.5 * horizon / count
        assert torch.equal(made.stage_at(middle), k)
        assert int(made.stage_at(torch.tensor(horizon, dtype=torch.float64))) == count - 1


def test_stages_are_recorded_and_read_back():
    made = bank()
    x = Rng(0).normal("x", (4, 2))
    for k in range(5):
        t = (k + 0.5) / 5
        torch.testing.assert_close(made(x, t), critic(k)(x, t))
        torch.testing.assert_close(made.stage(k)(x, t), critic(k)(x, t))
    with pytest.raises(ValueError, match="got stage 5; this bank has stages 0 to 4"):
        made.record(5, critic())
    with pytest.raises(ValueError, match="other names or shapes"):
        made.record(0, critic_network((2,), width=8))


def test_a_stage_that_was_not_recorded_moves_nothing():
    made = CriticBank(critic(), 4)
    made.record(0, critic(0))
    field = MonoFlow(made)
    x = field.start(3, Rng(0)).x
    assert field.velocity(x, 0.0).abs().min() > 0
    assert torch.equal(field.velocity(x, 0.25), torch.zeros_like(x))


def test_rows_may_be_in_different_stages():
    made = bank(blend="linear")
    x = Rng(0).normal("x", (7, 2))
    t = torch.tensor([0.9, 0.1, 0.5, 0.1, 0.0, 1.0, 0.47], dtype=torch.float64)
    whole = made(x, t)
    for i in range(7):
        torch.testing.assert_close(whole[i : i + 1], made(x[i : i + 1], t[i]))


def test_labels_follow_their_rows():
    made = CriticBank(critic(classes=3), 2)
    for k in range(2):
        made.record(k, critic(k, classes=3))
    x, y = Rng(0).normal("x", (4, 2)), torch.tensor([0, 2, 1, 2])
    t = torch.tensor([0.7, 0.1, 0.8, 0.2], dtype=torch.float64)
    for i in range(4):
        expected = critic(int(t[i] > 0.5), classes=3)(x[i : i + 1], t[i], y[i : i + 1])
        torch.testing.assert_close(made(x, t, y)[i : i + 1], expected)


def test_a_linear_blend_joins_the_stages():
    made = CriticBank(Label(0), 4, blend="linear")
    for k in range(4):
        made.record(k, Label(k * k))
    t = torch.tensor([0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 0.9, 1.0], dtype=torch.float64)
    expected = torch.tensor([0, 1, 2.5, 4, 6.5, 9, 9, 9])
    torch.testing.assert_close(made(torch.zeros(8, 2), t), expected)


def test_a_bank_composes_with_transforms():
    field = MonoFlow(bank(blend="linear"), "ns")
    x = field.start(5, Rng(0)).x.double()
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    expected = field.velocity(x, t)

    def single(z, time):
        return field.velocity(z[None], time)[0]

    with torch.no_grad():
        torch.testing.assert_close(torch.func.vmap(single)(x, t), expected)
        jacobian = torch.func.vmap(torch.func.jacrev(single))(x, t)
    torch.testing.assert_close(jacobian, jacobian.mT)


@pytest.mark.parametrize("blend", ["none", "linear"])
@pytest.mark.parametrize("times", [None, [0.0, 0.1, 0.4, 0.5, 1.0, 1.5]])
def test_sampling_takes_the_banks_own_steps(blend, times):
    """The default is Euler's method on the stages: the march that recorded them."""
    made = bank(times=times, blend=blend)
    field = MonoFlow(made, "vanilla", rate=2.0)
    got = sample(field, 6, seed=3)
    x = field.start(6, Rng(3)).x
    for k in range(5):
        alone = MonoFlow(critic(k), "vanilla", rate=2.0, horizon=made.times[-1])
        x = x + (made.times[k + 1] - made.times[k]) * alone.velocity(x, made.times[k])
    torch.testing.assert_close(got.x, x)
    assert got.nfe == 5 and tuple(got.times.tolist()) == made.times
    assert got.final == "none"


def test_own_grids_are_thinned_out_and_filled_in():
    field = MonoFlow(bank(4, times=[0.0, 0.1, 0.4, 0.5, 1.0]))
    assert grid(field, 4, "own").tolist() == [0.0, 0.1, 0.4, 0.5, 1.0]
    assert grid(field, 2, "own").tolist() == [0.0, 0.4, 1.0]
    torch.testing.assert_close(
        grid(field, 8, "own")[1::2], torch.tensor([0.05, 0.25, 0.45, 0.75]).double()
    )
    for steps in range(1, 30):
        times = grid(field, steps, "own")
        assert len(times) == steps + 1 and (times.diff() > 0).all()
        assert (float(times[0]), float(times[-1])) == (0.0, 1.0)
    assert sample(field, 2, "heun").nfe == 8
    assert sample(field, 2, nfe=2).times.tolist() == [0.0, 0.4, 1.0]
    assert sample(field, 2, steps=2, grid="native").times.tolist() == [0.0, 0.5, 1.0]


def test_other_fields_have_no_grid_of_their_own():
    for field in (MonoFlow(critic()), Empirical(torch.eye(2), VP())):
        with pytest.raises(TypeError, match="grid 'own' needs a field with times of its own"):
            grid(field, 3, "own")
    assert sample(MonoFlow(critic()), 2).nfe == 34


def test_codes_of_a_bank_go_there_and_back():
    """Encoding follows the flow, and so does decoding when it is asked for the same solver."""
    field = MonoFlow(bank(blend="linear"))
    x = sample(field, 4).x.double()
    there = encode(field, x, "rk4", steps=50)
    torch.testing.assert_close(decode(field, there.x, "rk4", steps=50).x, x, rtol=1e-5, atol=1e-5)
    assert decode(field, there.x, "default").nfe == 5
    assert encode(field, x, "default").nfe == 10
    assert float(round_trip(field, x, "default").max()) < 1e-3
    assert float(round_trip(field, x).max()) < 1e-4


def test_a_linear_blend_serves_other_solvers():
    """Continuous in t, so that a solver of higher order converges on it."""
    field = MonoFlow(bank(10, blend="linear"), rate=3.0)
    x = field.start(16, Rng(0)).x.double()
    ends = [get_solver("rk4")(field, x, grid(field, n)).x for n in (20, 40, 80)]
    first, second = ((end - ends[2]).abs().max() for end in ends[:2])
    assert float(second) < 1e-6 and float(second) < float(first) / 4


def test_state_travels():
    """A checkpoint of tensors and the same call to build rebuild a bank."""
    made, fresh = bank(), CriticBank(critic(9), 5)
    fresh.load_state_dict(made.state_dict())
    x = torch.ones(2, 2)
    assert torch.equal(fresh(x, 0.7), made(x, 0.7))
    assert not list(made.parameters())
    assert torch.equal(copy.deepcopy(made)(x, 0.7), made(x, 0.7))
    single = copy.deepcopy(made).float()
    assert single(x, 0.7).dtype == torch.float32
    torch.testing.assert_close(single(x, 0.7).double(), made(x, 0.7).double())
    assert torch.equal(single.stage_at(single.edges[:-1].double()), torch.arange(5))
    weights = sum(p.numel() for p in critic().parameters())
    assert made.size == 5 * weights
    assert f"bank of 5 critics, {5 * weights:,} weights" in repr(MonoFlow(made))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 0}, "got 0 stages"),
        ({"stages": 2, "times": [0.0, 1.0]}, "got 2 times for 2 stages; wanted 3"),
        ({"stages": 2, "times": [0.0, 1.0, 1.0]}, "increasing from 0"),
        ({"stages": 2, "times": [0.5, 1.0, 2.0]}, "increasing from 0"),
        ({"stages": 2, "blend": "cubic"}, "got blend 'cubic'; wanted 'none' or 'linear'"),
    ],
)
def test_banks_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CriticBank(critic(), **options)


def test_a_horizon_that_is_not_the_banks_is_refused():
    with pytest.raises(ValueError, match=r"got horizon 2.0; wanted the 1 of its bank"):
        MonoFlow(bank(), horizon=2.0)


class Straight(torch.nn.Module):
    """A critic that pulls to a point: its Euler map shrinks every distance by 1 - h."""

    event_shape, smooth = (2,), True

    def __init__(self):
        super().__init__()
        self.centre = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))

    def forward(self, x, t, y=None):
        return -(x - self.centre).square().sum(1) / 2


def test_the_density_of_euler_steps_in_closed_form():
    """x_N - c = (1 - h)^N (x_0 - c) from N(0, I)."""
    made = CriticBank(Straight(), 4, horizon=2.0)
    for k in range(4):
        made.record(k, Straight())
    field = MonoFlow(made)
    x, c, shrink = sample(field, 8).x.double(), Straight().centre.detach(), 0.5**4
    got = euler_log_prob(field, x)
    expected = Normal(scale=shrink).log_prob(x - (1 - shrink) * c)
    torch.testing.assert_close(got.nats, expected)
    assert not bool(got.status.any())
    continuous = log_prob(field, x).nats
    assert float((continuous - expected).abs().max()) > 1  # another law


def test_the_density_of_euler_steps_integrates_to_one():
    line = torch.linspace(-6, 6, 61, dtype=torch.float64)
    x = torch.cartesian_prod(line, line)
    field = MonoFlow(bank(), "ns", rate=2.0)
    got = euler_log_prob(field, x)
    assert not bool(got.status.any())
    assert float(got.nats.exp().sum() * (12 / 60) ** 2) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(get_solver("euler")(field, got.latent, grid(field, 5, "own")).x, x)


def test_the_density_of_euler_steps_is_refused_where_there_are_none():
    with pytest.raises(TypeError, match="MonoFlow has no Euler steps of its own"):
        euler_log_prob(MonoFlow(critic()), torch.zeros(1, 2))
    rough = MonoFlow(CriticBank(critic_network((2,)), 2))
    with pytest.raises(TypeError, match="piecewise-linear critic"):
        euler_log_prob(rough, torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"got x of shape \(1, 3\)"):
        euler_log_prob(MonoFlow(bank()), torch.zeros(1, 3))


def test_steps_too_long_to_be_undone_say_so():
    """A step of the length at which the map folds everything onto one point."""
    made = CriticBank(Straight(), 1, horizon=1.0)
    made.record(0, Straight())
    got = euler_log_prob(MonoFlow(made), torch.zeros(2, 2))
    assert got.status.tolist() == [1, 1] and bool(got.nats.isnan().all())
