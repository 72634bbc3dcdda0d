"""Training by particles: what a march records is what fresh samples follow, and it can go on."""

import pytest
import torch

from diffode import sample
from diffode.fields.monoflow import Mobility
from diffode.nn import critic_network
from diffode.nn.residual import LARGEST, ResidualCritic
from diffode.rng import Rng
from diffode.runs.building import build
from diffode.runs.run import fit
from diffode.solvers import get_solver, grid
from diffode.training import data_stats
from diffode.training.trainer import train

SMALL = {"stages": 6, "particles": 256, "width": 16, "depth": 1}
BATCH = {"batch": 32, "lr": 1e-3}


def gaussian_cloud(n=4000):
    """Correlated Gaussian points away from the origin."""
    root = torch.tensor([[0.9, 0.0], [0.6, 0.3]])
    return Rng(3).normal("cloud", (n, 2)) @ root.T + torch.tensor([1.0, -0.5])


def march(data, steps, **options):
    objective = build("monoflow", (2,), stats=data_stats(data), **(SMALL | options))
    for _ in train(objective, data, steps=steps, device="cpu", **BATCH):
        continue
    return objective


def test_the_pool_is_where_the_bank_takes_its_start():
    objective = march(gaussian_cloud(), 60)
    start = build("monoflow", (2,), stats=data_stats(gaussian_cloud()), **SMALL).pool
    field = objective.field
    end = get_solver("euler")(field, start, grid(field, 6, "own"))
    torch.testing.assert_close(end.x, objective.pool, rtol=1e-4, atol=1e-4)
    assert end.nfe == 6
    assert float((objective.pool - start).norm(dim=1).mean()) > 0.5


def test_moments_arrive_without_a_networks_help():
    """The Gaussian log-ratio of the moments alone carries a Gaussian to a Gaussian."""
    data = gaussian_cloud()
    objective = build(
        "monoflow", (2,), stats=data_stats(data), **(SMALL | {"stages": 60, "particles": 4096})
    )
    objective.begin(1)
    for network in (objective.residual.network, objective.average.network):
        for p in network.parameters():
            p.data.zero_()
    objective.advance(0, Rng())
    x = sample(objective.field, 4000, seed=5).x
    torch.testing.assert_close(x.mean(0), data.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(x.T), torch.cov(data.T), rtol=0, atol=0.06)


def test_the_quadratic_part_is_the_log_ratio_of_two_gaussians():
    data, samples, sigma = gaussian_cloud(), Rng(8).normal("q", (500, 2)) * 1.4, 0.3
    critic = ResidualCritic(critic_network((2,), width=8, depth=1))
    for p in critic.network.parameters():
        p.data.zero_()
    stats = data_stats(data)
    critic.double().aim(stats, samples, sigma)
    x, noise = Rng(9).normal("x", (7, 2)).double(), sigma**2 * torch.eye(2).double()
    laws = []
    for mean, cov in ((stats.mean, torch.cov(data.T)), (samples.mean(0), torch.cov(samples.T))):
        law = torch.distributions.MultivariateNormal(mean.double(), cov.double() + noise)
        laws.append(law.log_prob(x))
    ratio = laws[0] - laws[1]
    torch.testing.assert_close(critic(x, 0.0).double(), ratio, rtol=1e-3, atol=2e-3)


def test_large_events_leave_the_covariance_to_the_network():
    side = 20
    critic = ResidualCritic(critic_network((1, side, side), "conv", width=4))
    assert side * side > LARGEST and critic.quadratic.numel() == 0
    x = Rng(1).normal("x", (3, 1, side, side))
    torch.testing.assert_close(critic(x, 0.0), critic.network(x, 0.0))


@pytest.mark.parametrize("field", ["monoflow", "monoflow-pool", "gan"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(field, tmp_path):
    data = gaussian_cloud(512)
    small = {"width": 16, "depth": 1}
    if field != "gan":
        small |= {"stages": 6, "particles": 128}

    def made():
        return build(field, (2,), stats=data_stats(data), **small)

    whole, parts = made(), made()
    for _ in train(whole, data, steps=40, device="cpu", **BATCH):
        continue
    states = train(parts, data, steps=40, device="cpu", out=tmp_path, **BATCH)
    for state in states:
        if state.step == 23:
            states.close()
            break
    again = made()
    for _ in train(again, data, steps=40, device="cpu", resume=tmp_path, **BATCH):
        continue
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_a_march_keeps_its_plan(tmp_path):
    data = gaussian_cloud(256)
    march(data, 10)
    objective = build("monoflow", (2,), stats=data_stats(data), **SMALL)
    states = train(objective, data, steps=20, device="cpu", out=tmp_path, **BATCH)
    next(states)
    states.close()
    again = build("monoflow", (2,), stats=data_stats(data), **SMALL)
    with pytest.raises(ValueError, match="this march has its stages in 20 steps, not 30; resume"):
        next(train(again, data, steps=30, device="cpu", resume=tmp_path, **BATCH))


def test_fewer_steps_than_stages_are_no_error():
    objective = march(gaussian_cloud(256), 2)
    assert objective.stage == 6 and bool(sample(objective.field, 5).x.isfinite().all())


def test_pool_particles_are_at_all_stages_and_start_again():
    data = gaussian_cloud(512)
    options = SMALL | {"moves": 64}
    objective = build("monoflow-pool", (2,), stats=data_stats(data), **options)
    for _ in train(objective, data, steps=40, device="cpu", **BATCH):
        continue
    assert objective.places.unique().tolist() == list(range(6))
    assert bool(objective.pool.isfinite().all())


def test_speed_and_noise_share_one_plan():
    rate = Mobility(first=2.0, last=0.1, scale=3.0, floor=0.5)
    u = torch.linspace(0, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(rate(u), 3 * (rate.sigma(u) ** 2 + 0.25))
    assert float(rate.sigma(u)[0]) == pytest.approx(2) and float(
        rate.sigma(u)[-1]
    ) == pytest.approx(0.1)


@pytest.mark.slow
def test_fresh_particles_find_every_mode():
    run = fit("monoflow", "eight-gaussians", stages=50, steps=4200, width=128, device="cpu")
    x = sample(run.field, 2000, seed=11).x
    from diffode.data.toys import EIGHT_GAUSSIANS

    distance, mode = torch.cdist(x.double(), EIGHT_GAUSSIANS.means.double()).min(1)
    near = distance < 3 * EIGHT_GAUSSIANS.std
    shares = torch.bincount(mode[near], minlength=8) / len(x)
    assert float(near.double().mean()) > 0.9 and float(shares.min()) > 0.07
