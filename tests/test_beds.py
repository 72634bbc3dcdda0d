"""The solver test beds: their fields, their references, and how errors are counted."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import solve_ivp

from benchmarks import beds, peers_problem, peers_tables, solvers
from benchmarks.beds import Bed, bed, errors, reference, score
from benchmarks.laws import LAWS, DiagonalMixture
from diffode.fields import VP, Karras, Mixture, Rectified
from diffode.rng import Rng

SCHEDULES = (VP(), Karras(), Rectified())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(beds, "CACHE", tmp_path)
    return tmp_path


def small(name: str, rows: int = 6) -> Bed:
    whole = bed(name)
    return Bed(name, whole.field, whole.law, whole.x[:rows])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("family", ["2d", "held/cloud16-3d", "64d"])
def test_the_matmul_field_is_the_mixture(family, schedule):
    law = LAWS[family]()
    fast, plain = DiagonalMixture(law, schedule), Mixture(*law, schedule)
    first, last = schedule.span
    for share in (0.0, 0.03, 0.5, 0.97, 1.0):
        t = first + share * (last - first)
        alpha, sigma = (float(v) for v in plain.level(t, law.means))
        x = alpha * plain.sample(20, Rng(3)).double()
        x = x + sigma * Rng(4).normal("n", x.shape, torch.float64)
        for a, b in zip(fast.posterior(x, t), plain.posterior(x, t), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
        a, b = (
            fast.posterior(x, torch.full((20,), t, dtype=torch.float64))[0],
            plain.posterior(x, t)[0],
        )
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["2d/vp", "2d/edm", "2d/rect", "held/16d/vp", "held/16d/rect"])
def test_the_reference_is_the_flow_in_its_own_time(name, cache):
    b = small(name)
    plain = Mixture(*b.law, b.field.schedule)

    def velocity(t, x):
        return plain.velocity(torch.from_numpy(x).view_as(b.x), t).numpy().ravel()

    solved = solve_ivp(
        velocity, b.field.span, b.x.numpy().ravel(), method="DOP853", rtol=1e-12, atol=1e-13
    )
    y = b.y(torch.from_numpy(solved.y[:, -1]).view_as(b.x), b.field.span[1])
    torch.testing.assert_close(reference(b), y, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["2d/vp", "2d/edm", "2d/rect"])
def test_the_reference_follows_one_trajectory_below_the_span(name, cache):
    b = small(name)
    through = beds._solve(b, 0.0)
    torch.testing.assert_close(reference(b, 0.0), through, rtol=0, atol=1e-11)
    low = b.rho_data
    n = b.canonical(reference(b), low)[1]
    step = (reference(b) - reference(b, 0.0)) / low
    assert float((step - n).abs().max()) < 20 * low  # the ODE, to the first order in rho


def test_a_canonical_state_means_the_same_on_every_schedule():
    rho = 0.7
    y = bed("2d/edm").x / 80 * 2
    means = [bed(f"2d/{path}").canonical(y, rho) for path in ("vp", "edm", "rect")]
    for other in means[1:]:
        for a, b in zip(means[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    x0, n = means[0]
    torch.testing.assert_close(x0 + rho * n, y, rtol=1e-10, atol=1e-10)


def test_a_poisson_bed_is_bound_and_keeps_the_state_together():
    whole = bed("2d/pfgmpp128")
    b = Bed(whole.name, whole.field.rows(torch.arange(6)), whole.law, whole.x[:6])
    for rho in (80.0, 0.3):
        y = b.x * (rho / 80)
        x0, n = b.canonical(y, rho)
        torch.testing.assert_close(x0 + rho * n, y, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(b.field.posterior(y, rho)[0], x0, rtol=1e-12, atol=1e-12)
    assert bool(b.canonical(b.law.means[:1].expand(6, -1), 0.0)[1].isfinite().all())


def test_a_reference_is_read_back_from_disk(cache):
    b = small("2d/edm")
    first = reference(b)
    assert len(list(cache.glob("*.npz"))) == 1
    assert torch.equal(first, reference(b))
    other = Bed(b.name, b.field, b.law, b.x + 1e-9)
    reference(other)
    assert len(list(cache.glob("*.npz"))) == 2


def test_flips_are_counted_and_left_out(cache):
    b = small("2d/edm", 8)
    ref = reference(b, 0.0)
    moved = ref.clone()
    moved[0] = -ref[0]  # the far side of the ring
    moved[1:] += 0.01
    s = score(b, moved, 0.0)
    assert s.flips == 1
    assert s.rmse_kept == pytest.approx(0.01)
    assert s.median == pytest.approx(0.01)
    distance = float((2 * ref[0]).square().mean())
    assert s.rmse == pytest.approx(math.sqrt((distance + 7 * 1e-4) / 8))


def test_a_row_that_is_not_finite_is_not_lost():
    ref = torch.zeros(4, 2, dtype=torch.float64)
    y = ref.clone()
    y[2, 0] = math.nan
    s = errors(y, ref)
    assert s.rmse == pytest.approx(500.0)
    assert s.median == 0


def test_beds_are_the_same_points_every_time_and_differ_in_kind():
    for kind in beds.KINDS:
        assert len(beds.names(kind)) == len(set(beds.names(kind)))
    assert not set(beds.names("six")) & set(beds.names("held"))
    assert torch.equal(bed("2d/edm").x, bed.__wrapped__("2d/edm").x)
    laws = [make() for make in LAWS.values()]
    assert all(float(law.weights.sum()) == pytest.approx(1) for law in laws)


@pytest.mark.parametrize("call", [lambda: bed("2d/none"), lambda: beds.names("seven")])
def test_an_unknown_name_is_refused_with_the_known_ones(call):
    with pytest.raises(ValueError, match=r"(2d/edm|six, held, fresh, poisson)"):
        call()


def euler(p, nfe):
    rho = torch.linspace(math.log(p.rho_max), math.log(p.rho_data), nfe + 1).double().exp()
    y = p.start(1.0, float(rho[0]))
    for here, there in pairwise(rho):
        y = y + (there - here) * p.posterior(y, 1.0, here)[1]
    return peers_problem.End(y, float(rho[-1]))


def test_another_library_is_measured_as_our_own_solver_is(cache):
    b = small("2d/edm", 8)
    peer = peers_problem.Peer("Euler in rho", ("edm",), euler)
    end, calls = peers_problem.run(peer, peers_problem.problem(b), 10)
    theirs = solvers.cell(b, end, calls)
    ours = solvers.measure_ours(b, "ddim:final=none", (10,))["10"]
    assert theirs["calls"] == ours["calls"] == 10
    assert theirs["rmse"] == pytest.approx(ours["rmse"], rel=1e-9)


def test_a_sampler_that_overspends_has_no_cell(cache):
    p = peers_problem.problem(small("2d/edm", 4))
    over = peers_problem.Peer("over", ("edm",), lambda p, nfe: euler(p, nfe + 1))
    assert peers_problem.run(over, p, 5) is None
    assert peers_problem.run(peers_problem.Peer("Euler", ("edm",), euler), p, 5)[1] == 5


@pytest.mark.parametrize("name", ["2d/vp", "2d/edm", "2d/rect"])
def test_a_problem_asks_the_same_of_every_scaling(name, cache):
    p = peers_problem.problem(small(name))
    x = Rng(0).normal("x", (6, 2), torch.float64)
    base = p.posterior(x, 0.6, 0.8)
    for scale in (0.1, 1.0, 30.0):
        for a, b in zip(base, p.posterior(scale * x, scale * 0.6, scale * 0.8), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert p.calls == 4
    if name == "2d/rect":  # its start has no alpha
        torch.testing.assert_close(p.start(0.0, 2.0), 2 * bed(name).x[:6])
        assert bool(p.posterior(p.start(0.0, 1.0), 0.0, 1.0)[0].isfinite().all())


def test_the_best_peer_is_chosen_at_every_budget():
    def row(*values):
        return {
            str(n): {"rmse": v, "kept": v, "median": v, "flips": 0, "calls": n}
            for n, v in zip((5, 8), values, strict=True)
        }

    both = ({"default": row(0.1, 0.1)}, {"a": row(0.2, 0.8), "b": row(0.4, 0.4)})
    mean = peers_tables.mean_ratio([both], "default", (5, 8), "rmse")
    assert mean == pytest.approx(math.sqrt(2 * 4))
    name, factor = peers_tables.single([both], "default", "rmse")
    assert factor == pytest.approx(4.0) and name in ("a", "b")
    assert peers_tables.calls_for(both[1]["a"], 0.3) == 5
    assert peers_tables.calls_for(both[1]["a"], 0.1) is None
    assert "x2.00" in peers_tables.report({"2d/edm": both})
