"""The field of a large data set: float32 against direct float64, memory, chunks, memory maps."""

import copy

import numpy as np
import pytest
import torch

from diffode.fields import VP, Empirical, Karras, PoissonField, Rectified
from diffode.priors import Normal, StudentT
from diffode.rng import Rng

NOISES = [Normal(), StudentT(1.0), StudentT(128.0)]
LEVELS = [0.002, 0.05, 1.0, 3.0, 8.0, 80.0]
DIM, COUNT = 300, 400


def points(kind):
    """Float32 data in many dimensions."""
    rng = Rng(1)
    y = rng.normal("y", (COUNT, DIM)) / 2
    if kind == "clusters":
        y = y[: COUNT // 8].repeat(8, 1) + 3e-3 * rng.normal("near", (COUNT, DIM))
    if kind == "far from the origin":
        y = y + 20
    if kind == "dark images":
        y = rng.uniform("brightness", (COUNT, 1)).float() * rng.uniform("u", (COUNT, DIM)).float()
    return y


def queries(y, level, noise):
    """On the data with noise, on it without, at midpoints of pairs, and off it."""
    n = noise.sample((6, DIM), Rng(2))
    near, pairs, off = y[:6] + level * n, (y[6:12] + y[12:18]) / 2, Rng(3).normal("x", (6, DIM))
    return torch.cat((near, y[6:9], pairs, y.mean(0) + y.std() * off))


def direct(x, y, level, noise, alpha=1.0):
    """The posterior mean in float64 from differences."""
    r2 = (x.double()[:, None] - alpha * y.double()).square().sum(2)
    return torch.softmax(noise.log_radial(r2 / level**2, y.shape[1]), 1) @ y.double()


def worst(mean, exact):
    """The largest relative error of a row."""
    return float(((mean - exact).norm(dim=1) / exact.norm(dim=1)).max())


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("kind", ["spread", "clusters", "far from the origin", "dark images"])
def test_float32_means_have_float32_errors(kind, noise, monkeypatch):
    """2e-6 at every level, whatever the screening leaves out, in one chunk and in nine."""
    y = points(kind)
    field = Empirical(y, Karras(), noise)
    kept = Empirical(y, Karras(), noise, keep_float64=True)
    for level in LEVELS:
        x = queries(y, level, noise)
        exact = direct(x, y, level, noise)
        assert worst(field.denoise(x, level), exact) < 2e-6
        assert worst(kept.denoise(x, level), exact) < 2e-6
        with monkeypatch.context() as small:
            small.setattr("diffode.fields.kernels._MEMORY", 8 * (DIM + 4 * len(x)) * 45)
            assert worst(field.denoise(x, level), exact) < 2e-6


@pytest.mark.parametrize(
    ("kind", "noise", "level"),
    [
        ("one offset", Normal(), 2.0),
        ("one offset", StudentT(1.0), 30.0),
        ("sorted clusters", Normal(), 2.0),
        ("sorted clusters", StudentT(128.0), 2.0),
    ],
)
def test_many_small_weights_count_beside_a_large_one(kind, noise, level):
    """Points of one direction, each of a weight near half a unit in the last place of the sum."""
    y = Rng(1).normal("y", (1500, 256)) / 2
    y = y + (
        10 if kind == "one offset" else 5 * Rng(2).normal("c", (3, 256)).repeat_interleave(500, 0)
    )
    levels = level * torch.linspace(0.7, 1.4, 15)
    x = y[::300]
    field = Empirical(y, Karras(), noise)
    errors = [worst(field.denoise(x, float(s)), direct(x, y, float(s), noise)) for s in levels]
    assert max(errors) < 1.2e-6


def test_levels_may_differ_by_row():
    y, noise = points("clusters"), StudentT(1.0)
    x = queries(y, 0.5, noise)
    t = torch.logspace(-3, 0, len(x), dtype=torch.float64)
    field = Empirical(y, Rectified(), noise)
    one_by_one = torch.cat([field.denoise(x[i : i + 1], t[i]) for i in range(len(x))])
    assert worst(field.denoise(x, t), one_by_one.double()) < 1e-6
    exact = [direct(x[i : i + 1], y, float(s), noise, 1 - float(s)) for i, s in enumerate(t)]
    finite = slice(0, len(x) - 1)  # the last level has no data in it
    assert worst(field.denoise(x, t)[finite], torch.cat(exact)[finite]) < 2e-6


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_densities_in_chunks(noise, monkeypatch):
    y = points("clusters")
    x = queries(y, 0.3, noise)
    wide = Empirical(y.double(), VP(), noise)
    t = torch.linspace(0.02, 0.9, len(x), dtype=torch.float64)
    expected = wide.log_marginal(x.double(), t)
    assert wide.log_marginal(x[:1].double(), t[0]) == pytest.approx(float(expected[0]), rel=1e-12)
    monkeypatch.setattr("diffode.fields.kernels._MEMORY", 8 * (DIM + 4 * len(x)) * 33)
    torch.testing.assert_close(wide.log_marginal(x.double(), t), expected, rtol=1e-12, atol=1e-9)
    single = Empirical(y, VP(), noise).log_marginal(x, t).double()
    torch.testing.assert_close(single, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("order", ["sorted", "mixed"])
def test_classes_survive_screening(order, monkeypatch):
    """A class that no point of the first chunks has, at a level where nearly all is left out."""
    y, noise = points("clusters"), StudentT(1.0)
    labels = torch.arange(COUNT) * 5 // COUNT if order == "sorted" else torch.arange(COUNT) % 5
    x, wanted = queries(y, 0.1, noise), torch.arange(21) % 5
    monkeypatch.setattr("diffode.fields.kernels._MEMORY", 8 * (DIM + 4 * len(x)) * 50)
    field = Empirical(y, Karras(), noise, labels=labels)
    for level in (0.02, 0.5, 20.0):
        mean = field.denoise(x, level, wanted)
        for k in range(5):
            own, part = wanted == k, y[labels == k]
            assert worst(mean[own], direct(x[own], part, level, noise)) < 2e-6


def test_screening_pauses_where_it_saves_nothing(monkeypatch):
    """Every point matters at a high level: one chunk in nine is screened."""
    from diffode.fields import kernels

    seen = []
    screen = kernels._Screen.__call__
    monkeypatch.setattr(
        kernels._Screen, "__call__", lambda s, p: seen.append(s.skip) or screen(s, p)
    )
    monkeypatch.setattr(kernels, "_MEMORY", 8 * (DIM + 4 * 6) * 40)
    y = points("spread")
    field = Empirical(y, Karras())
    field.denoise(y[:6] + 1, 50.0)
    assert seen == [0, 7, 6, 5, 4, 3, 2, 1, 0, 63]
    seen.clear()
    field.denoise(y[:6] + 0.01, 0.01)
    assert seen == [0] * 10


def test_many_points_need_little_memory():
    """128 queries, 4,096 points, 3,072 dimensions: 60 MB at most beside the data."""
    from torch.profiler import ProfilerActivity, profile

    y = torch.randn(4096, 3072, generator=torch.Generator().manual_seed(0))
    field, x = Empirical(y, Karras()), y[:128] + 8
    for f in (lambda: field.denoise(x, 8.0), lambda: field.log_marginal(x, 8.0)):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            f()
        peak = running = 0
        for event in record.profiler.kineto_results.events():
            if event.name() == "[memory]":
                running += event.nbytes()
                peak = max(peak, running)
        assert 0 < peak < 60 * 2**20


def test_many_queries_are_taken_in_blocks(monkeypatch):
    field = Empirical(points("clusters").double(), VP(), StudentT(2.0))
    x, t = Rng(4).normal("x", (50, DIM), torch.float64), torch.linspace(0.1, 1, 50).double()
    whole = field.posterior(x, t), field.log_marginal(x, t)
    monkeypatch.setattr("diffode.fields.kernels._QUERIES", 8)
    for a, b in zip(field.posterior(x, t), whole[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(field.log_marginal(x, t), whole[1], rtol=1e-12, atol=1e-12)


def test_data_may_stay_in_a_memory_map(tmp_path):
    """It is read where it lies, belongs to no state, and neither moves nor changes dtype."""
    y = points("clusters")
    path = tmp_path / "data.npy"
    np.save(path, y.view(COUNT, 3, 10, 10).numpy())
    mapped = torch.from_numpy(np.load(path, mmap_mode="c"))
    field = Empirical(mapped, VP(), StudentT(1.0), resident=False)
    inside = Empirical(y.view(COUNT, 3, 10, 10), VP(), StudentT(1.0))
    x = queries(y, 0.3, Normal()).view(-1, 3, 10, 10)
    assert torch.equal(field.denoise(x, 0.3), inside.denoise(x, 0.3))
    assert torch.equal(field.log_marginal(x, 0.3), inside.log_marginal(x, 0.3))
    assert torch.equal(field.sample(9, Rng(5)), inside.sample(9, Rng(5)))
    assert field.moments[1] == inside.moments[1]
    assert field.points.data_ptr() == mapped.data_ptr()
    assert "points" not in field.state_dict() and "points" in inside.state_dict()
    moved = copy.deepcopy(field).to(torch.float64)
    assert moved.points.dtype == torch.float32
    assert (
        worst(moved.denoise(x, 0.3).flatten(1), field.denoise(x, 0.3).flatten(1).double()) < 1e-6
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_data_and_queries(dtype):
    """Half-precision numbers are numbers: only the result is rounded."""
    y = points("spread").to(dtype)
    x = (y[:5].float() + 0.5).to(dtype)
    mean = Empirical(y, Karras(), StudentT(1.0)).denoise(x, 5.0)
    assert mean.dtype == dtype
    exact = direct(x, y, 5.0, StudentT(1.0))
    torch.testing.assert_close(mean.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-4)


def test_autocast_does_not_reach_the_field():
    y = points("spread")
    field, x = Empirical(y, Karras()), y[:5] + 0.5
    with torch.autocast("cpu", torch.bfloat16):
        mean = field.denoise(x, 8.0)
    assert torch.equal(mean, field.denoise(x, 8.0))


def test_whole_numbers_are_refused():
    with pytest.raises(TypeError, match=r"got data of type torch\.uint8; scale it"):
        Empirical(torch.zeros(4, 2, dtype=torch.uint8), VP())


# ------------------------------------------------------------------------------------ derivatives

DATA = Rng(6).normal("y", (6, 4), torch.float64)
FIELDS = {
    "normal": Empirical(DATA, VP()),
    "student": Empirical(DATA, VP(), StudentT(1.0)),
    "smoothed": Empirical(DATA, VP(), bandwidth=0.3),
    "poisson": PoissonField(Empirical(DATA, Karras(), StudentT(3.0))),
}


def differences(f, x, h=1e-5):
    """Jacobians (B, N, N) of f by central differences."""
    steps = h * torch.eye(x.shape[1], dtype=torch.float64)
    return torch.stack([(f(x + e) - f(x - e)) / (2 * h) for e in steps], 2)


@pytest.mark.parametrize("name", FIELDS)
def test_jacobians_under_every_transform(name):
    """vmap over rows of jacrev, vjp and autograd agree with differences, t by row included."""
    from torch.func import jacrev, vjp, vmap

    field = FIELDS[name]
    x, t = Rng(7).normal("x", (5, 4), torch.float64), torch.linspace(0.2, 0.8, 5).double()
    expected = differences(lambda v: field.denoise(v, t), x)
    rows = vmap(jacrev(lambda v, s: field.denoise(v[None], s)[0]))(x, t)
    torch.testing.assert_close(rows, expected, rtol=1e-6, atol=1e-8)
    v = Rng(8).normal("v", (5, 4), torch.float64)
    pulled = vjp(lambda z: field.denoise(z, t), x)[1](v)[0]
    torch.testing.assert_close(pulled, torch.einsum("bij,bi->bj", rows, v))
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((field.denoise(leaf, t) * v).sum(), leaf)
    torch.testing.assert_close(gradient, pulled)


def test_gradients_of_float32_queries():
    """The screened path in float32 against float64, for the divergence that solvers take."""
    y = points("clusters")
    field, wide = (
        Empirical(y, Karras(), StudentT(1.0)),
        Empirical(y.double(), Karras(), StudentT(1)),
    )
    x, v = queries(y, 3.0, Normal())[:6], Rng(9).normal("v", (6, DIM))
    single, double = x.clone().requires_grad_(), x.double().requires_grad_()
    (a,) = torch.autograd.grad((field.denoise(single, 3.0) * v).sum(), single)
    (b,) = torch.autograd.grad((wide.denoise(double, 3.0) * v.double()).sum(), double)
    assert worst(a, b) < 1e-3
    rows = torch.func.vmap(lambda z: field.denoise(z[None], 3.0)[0])(x)
    assert worst(rows, wide.denoise(x.double(), 3.0)) < 2e-6
