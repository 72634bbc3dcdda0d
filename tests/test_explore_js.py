"""The explorer's mathematics in JavaScript, against the exact fields in Python."""

import math

import pytest
import torch

from diffode.explore import tables
from diffode.fields import Empirical, Karras, MonoFlow, classifier_free
from diffode.fields.divergences import DIVERGENCES
from diffode.fields.ratios import ExactRatio, Frozen
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver
from tests.explorer import Scripts, numbers, rows

DOFS = (1.0, 2.5, 64.0, 4096.0, math.inf)
RHOS = (0.01, 0.1, 1.0, 10.0, 100.0)
WIDE = Karras(1e-3, 1e3)  # alpha = 1, so that x is y and t is rho


@pytest.fixture(scope="module")
def js():
    return Scripts()


def law(dof):
    return Normal() if dof == math.inf else StudentT(dof=dof)


def unit(count=50, seed=0):
    """Points of mean 0 and of standard deviation 1, with labels."""
    rng = Rng(seed)
    x = rng.normal("x", (count, 2), torch.float64)
    x = x + 2 * (torch.arange(count) % 3)[:, None]
    x = x - x.mean(0)
    return x / x.square().mean().sqrt(), torch.arange(count) % 3


@pytest.mark.parametrize("dof", DOFS)
@pytest.mark.parametrize("rho", RHOS)
def test_means_velocity_and_densities_are_those_of_the_exact_field(js, dof, rho):
    x, labels = unit()
    y = 3 * Rng(1).normal("y", (40, 2), torch.float64)
    field = Empirical(x, WIDE, law(dof), labels=labels)
    found = js(
        """
        const points = cloud(2, xs, labels), out = new Float64Array(ys.length), logs = [];
        means(points, ys, rho, D, out, -1, logs);
        const one = []; for (let j = 0; j < ys.length; j += 2) {
          const y = ys.slice(j, j + 2); one.push(about(points, y, rho, D, 1)); }
        const size = Math.sqrt(1 + rho * rho), rate = new Float64Array(ys.length);
        slope(points, ys.map((v) => v / size), rho, D, null, rate, workFor(ys.length));
        return {out, logs: logs.map((l) => l + logNorm(rho)), one, rate};
        """,
        xs=x, ys=y, labels=labels, rho=rho, D=dof,
    )  # fmt: skip
    x0 = field.denoise(y, rho)
    assert (rows(found["out"]) - x0).abs().max() < 1e-9
    log = field.log_marginal(y, rho)
    assert torch.allclose(numbers(found["logs"]), log, rtol=1e-9, atol=1e-9)
    size = math.sqrt(1 + rho**2)  # z = y / size; the velocity of y in rho is E[n | y]
    velocity = field.velocity(y, rho)
    turned = size**2 * (velocity / size - y * rho / size**3)
    assert torch.allclose(rows(found["rate"]), turned, rtol=1e-9, atol=1e-9)
    label = torch.ones(len(y), dtype=torch.int64)
    mine = found["one"]
    log = field.log_marginal(y, rho, label)
    assert torch.allclose(numbers([o["logp"] for o in mine]), log, atol=1e-9)
    assert (rows([o["mean"] for o in mine]) - field.denoise(y, rho, label)).abs().max() < 1e-9
    place = y.clone().requires_grad_(True)
    score = torch.autograd.grad(field.log_marginal(place, rho, label).sum(), place)[0]
    assert torch.allclose(rows([o["score"] for o in mine]), score, rtol=1e-8, atol=1e-9)
    jacobian = torch.func.vmap(
        torch.func.jacrev(lambda v: field.denoise(v[None], rho, label[:1])[0])
    )(y)
    trace = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    assert torch.allclose(numbers([o["trace"] for o in mine]), trace, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("dof", DOFS)
def test_means_of_images_are_those_of_the_exact_field(js, dof):
    x = Rng(2).normal("x", (30, 64), torch.float64)
    y = x[:5] + 0.5 * Rng(3).normal("y", (5, 64), torch.float64)
    out = js(
        "const out = ys.slice(); means(cloud(64, xs), ys, 0.7, D, out); return out;",
        xs=x, ys=y, D=dof,
    )  # fmt: skip
    assert (rows(out, 64) - Empirical(x, WIDE, law(dof)).denoise(y, 0.7)).abs().max() < 1e-9


@pytest.mark.parametrize("name", tables.SCHEDULES)
def test_schedules_have_the_levels_and_the_clock_of_python(js, name):
    schedule = tables.SCHEDULES[name]
    first, last = (
        float(schedule.rho(torch.tensor(t, dtype=torch.float64))) for t in schedule.span
    )
    found = js(
        """
        const s = SCHEDULES[name], rhos = rhoLevels(name, 48), t = rhos.map(s.time);
        return {ends: rhoEnds(name), span: s.span, rhos, t, alpha: rhos.map(s.alpha),
                back: t.map(s.rho)};
        """,
        name=name,
    )
    assert found["span"] == pytest.approx(schedule.span, rel=1e-12)
    assert found["ends"] == pytest.approx([min(first, 999.0), last], rel=1e-9)
    rhos = numbers(found["rhos"])
    assert found["t"] == pytest.approx(schedule.time(rhos).tolist(), rel=1e-9, abs=1e-12)
    assert found["alpha"] == pytest.approx(schedule.alpha(schedule.time(rhos)).tolist(), rel=1e-9)
    assert found["back"] == pytest.approx(found["rhos"], rel=1e-9)


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("dof", [1.0, math.inf])
def test_guidance_is_that_of_classifier_free_inside_and_outside_of_its_interval(js, weight, dof):
    x, labels = unit()
    y = 2 * Rng(4).normal("y", (20, 2), torch.float64)
    field = classifier_free(Empirical(x, WIDE, law(dof), labels=labels), weight, (0.2, 2.0))
    for rho in (0.1, 0.5, 5.0):
        out = js(
            """
            const out = new Float64Array(ys.length), guide = {label: 2, weight, low: 0.2, high: 2};
            guidedMeans(cloud(2, xs, labels), ys, rho, D, guide, out); return out;
            """,
            xs=x, ys=y, labels=labels, rho=rho, weight=weight, D=dof,
        )  # fmt: skip
        label = torch.full((len(y),), 2)
        assert (rows(out) - field.denoise(y, rho, label)).abs().max() < 1e-9


@pytest.mark.parametrize("dof", [1.0, 3.5, 100.0, math.inf])
def test_the_prior_has_the_radii_of_the_noise(js, dof):
    u = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    found = js("return us.map((u) => radius(u, D));", us=u, D=dof)
    wanted = law(dof).radius_icdf(u, 2)
    assert torch.allclose(numbers(found), wanted, rtol=1e-9)


@pytest.mark.parametrize("dof", [1.0, 7.0])
def test_noise_of_images_has_the_scales_of_the_noise(js, dof):
    """|n|^2 / N follows Fisher's law of (N, D): its median is that of the radius."""
    out = rows(js("return noiseOf(16, 4000, D, 5);", D=dof), 16)
    middle = float(law(dof).radius_icdf(torch.tensor([0.5]).double(), 16)[0])
    assert float((out.norm(dim=1) < middle).double().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("dof", [2.0, math.inf])
def test_exact_paths_are_those_of_a_fine_solve(js, dof):
    x, _ = unit()
    n = Rng(6).normal("n", (6, 2), torch.float64)
    states = js(
        "return exactPaths(cloud(2, xs), n, rhoLevels('karras', 48), D, null, 4);",
        xs=x, n=n, D=dof,
    )  # fmt: skip
    field = Empirical(x, Karras(), law(dof))
    times = torch.tensor([80 * (0.002 / 80) ** (k / 48) for k in (0, 12, 24, 36)]).double()
    solver = get_solver("dopri5", rtol=1e-10, atol=1e-10)
    path = solver(field, 80 * n, times, path=True).path
    for state, y, rho in zip((states[k] for k in (0, 12, 24, 36)), path, times, strict=True):
        assert (rows(state) - y / (1 + rho**2).sqrt()).abs().max() < 1e-6


@pytest.mark.parametrize("h", ["logit", "ns", "vanilla", "arcsinh", "hellinger"])
def test_the_ratio_and_its_flow_are_those_of_monoflow(js, h):
    data, crowd = unit()[0], 1.3 * Rng(7).normal("q", (60, 2), torch.float64)
    x, sigma = Rng(8).normal("x", (20, 2), torch.float64), 0.4
    found = js(
        """
        const out = new Float64Array(x.length), logs = [];
        ratioMoves(cloud(2, data), cloud(2, crowd), x, sigma, h, out, logs); return {out, logs};
        """,
        data=data, crowd=crowd, x=x, sigma=sigma, h=h,
    )  # fmt: skip
    laws = [Frozen(Empirical(points, WIDE), sigma) for points in (data, crowd)]
    critic = ExactRatio(*laws, event_shape=(2,))
    assert torch.allclose(numbers(found["logs"]), critic(x, 0.0), atol=1e-9)
    field = MonoFlow(critic, h, rate=sigma**2)
    assert (rows(found["out"]) - field.velocity(x, 0.0)).abs().max() < 1e-9
    assert DIVERGENCES[h].monotone


def test_those_who_follow_go_where_the_crowd_goes(js):
    x, start = unit()[0], 1.3 * Rng(9).normal("q", (80, 2), torch.float64)
    found = js(
        """
        const sigmas = stageSigmas(20), data = cloud(2, xs);
        const states = march(data, q, sigmas, "logit", 1);
        const others = follow(data, states, q.slice(0, 10), sigmas, "logit", 1);
        return {end: states[20], others: others[20], sigmas};
        """,
        xs=x, q=start,
    )  # fmt: skip
    assert rows(found["others"]).tolist() == rows(found["end"])[:5].tolist()
    assert found["sigmas"][0] == 1 and found["sigmas"][-1] == pytest.approx(0.05)
    near = torch.cdist(rows(found["end"]), x).amin(1)
    assert float(near.median()) < 0.15 < float(torch.cdist(start, x).amin(1).median())


@pytest.mark.parametrize("dof", DOFS)
def test_the_density_by_the_flow_is_the_exact_one(js, dof):
    x, labels = unit()
    found = js(
        "return logDensities(cloud(2, xs, labels), [0.3, -0.8], 0.4, 80, D, 1, 200);",
        xs=x, labels=labels, D=dof,
    )  # fmt: skip
    field = Empirical(x, WIDE, law(dof), labels=labels)
    y = torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    exact = float(field.log_marginal(y, 0.4, torch.tensor([1]))[0])
    assert found["exact"] == pytest.approx(exact, abs=1e-9)
    assert found["flow"] == pytest.approx(exact, abs=2e-5)
    assert found["prior"] == pytest.approx(exact, abs=0.05)
