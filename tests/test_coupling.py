"""Couplings: which noise meets which sample, in one place for the whole batch of a step."""

import os
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from diffode import load, sample
from diffode.analysis.stages import exact_field
from diffode.cli.app import run
from diffode.data import load as data
from diffode.fields import Rectified, rescheduled
from diffode.fields.conditioning import conditioned
from diffode.fields.operators import operator
from diffode.interop import as_k_diffusion
from diffode.metrics import straightness, straightness_defect
from diffode.rng import Rng
from diffode.runs.building import build
from diffode.testing import diagnose
from diffode.training import Paired, data_stats
from diffode.training.batches import Batch, Batches
from diffode.training.coupling import Whole, partners
from diffode.training.record import logged
from diffode.training.trainer import train
from diffode.warned import DiffodeWarning
from tests.runs import TINY

MOONS = data("moons")
X, Y = MOONS.train[:96], MOONS.train_labels[:96]
N = Rng(1).normal("noise", (96, 2))


def make(coupling="ot", classes=None, **options):
    stats = data_stats(X)
    return build(
        "rectified", (2,), classes, stats, width=16, depth=1, coupling=coupling, **options
    )


def go(objective, samples=X, **options):
    options = {"steps": 4, "batch": 16, "device": "cpu", "warmup": 2, **options}
    return list(train(objective, samples, **options))


def cost(index, x=X, n=N):
    return float((x - n[index]).double().square().sum())


# ----------------------------------------------------------------------------------- the pairing


def test_the_exact_pairing_is_the_best_assignment():
    index = partners(X, N, None, "ot", 0.05, Rng(0))
    rows, columns = linear_sum_assignment(torch.cdist(X, N).double().square().numpy())
    assert index.sort().values.tolist() == list(range(96)), "each noise once"
    assert cost(index) == pytest.approx(cost(torch.from_numpy(columns)[rows]), rel=1e-6)
    assert cost(index) < 0.5 * cost(torch.arange(96))


def test_the_entropic_pairing_goes_from_the_best_to_the_independent_one():
    """Its expected cost is that of the plan: between the two, and nearer to each at its end."""
    x, n, every = X[:32], N[:32], torch.arange(32)
    best, none = (cost(i, x, n) for i in (partners(x, n, None, "ot", 0.05, Rng(0)), every))

    def mean(regularisation):
        drawn = [partners(x, n, None, "sinkhorn", regularisation, Rng(k)) for k in range(40)]
        return float(np.mean([cost(index, x, n) for index in drawn]))

    costs = [mean(r) for r in (0.02, 0.2, 50.0)]
    assert best < costs[0] < costs[1] < costs[2]
    assert costs[0] < best + 0.1 * (none - best)
    assert costs[2] == pytest.approx(float(torch.cdist(x, n).square().sum() / 32), rel=0.05)


@pytest.mark.parametrize("kind", ["ot", "sinkhorn"])
def test_pairs_are_made_within_groups(kind):
    index = partners(X, N, Y, kind, 0.05, Rng(0))
    assert bool((Y[index] == Y).all())
    for label in (0, 1):
        rows = (label == Y).nonzero().flatten()
        alone = partners(X[rows], N[rows], None, "ot", 0.05, Rng(0))
        if kind == "ot":
            assert cost(index[rows], X[rows]) == pytest.approx(cost(alone, X[rows], N[rows]))


def test_what_the_network_is_told_is_not_told_by_the_noise():
    """Labels of a conditional field, and flips where they are told."""
    batch = Batch(X, Y)
    for classes, apart in ((2, True), (None, False)):
        whole, _ = make(classes=classes).couple(batch, Rng(0))
        own = Rng(0).normal("noise", (96, 2))
        origin = torch.cdist(whole.n, own).argmin(1)
        assert bool((Y[origin] == Y).all()) == apart
    images = Rng(2).normal("images", (32, 1, 4, 4))
    flipped = torch.arange(32) % 2 == 0
    told = build("rectified", (1, 4, 4), width=8, depth=1, coupling="ot", flip_label=True)
    paired, _ = told.couple(Batch(images, flipped=flipped), Rng(0))
    own = Rng(0).normal("noise", (32, 1, 4, 4))
    origin = torch.cdist(paired.n.flatten(1), own.flatten(1)).argmin(1)
    assert bool((flipped[origin] == flipped).all()) and paired.flipped is flipped


def test_equal_samples_have_nothing_to_pair():
    same = torch.zeros(8, 2)
    for kind in ("ot", "sinkhorn"):
        assert len(partners(same, same, None, kind, 0.05, Rng(0))) == 8


def test_a_plan_that_is_not_reached_is_refused():
    with pytest.raises(ValueError, match=r"regularisation=1e-06: its columns are .* uneven"):
        partners(X[:32], N[:32], None, "sinkhorn", 1e-6, Rng(0))


def test_without_pot_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"pip install 'diffode\[bench\]'"):
        go(make())
    go(make("independent"))


# --------------------------------------------------------------------------- pieces and processes


@pytest.mark.parametrize("coupling", ["ot", "sinkhorn"])
def test_pieces_and_processes_share_one_pairing(coupling):
    """Whoever asks for whichever rows, of one step or another, sees the same pairs."""
    objective = make(coupling)
    batches = Batches(Batch(X), 32, 5)
    whole = Whole(batches, objective.couple).at(3, torch.arange(32))
    for rows in (torch.arange(16, 32), torch.tensor([7, 3])):
        other = Whole(batches, objective.couple)
        other.at(2, rows)
        piece = other.at(3, rows)
        assert torch.equal(piece.x, whole.x[rows]) and torch.equal(piece.n, whole.n[rows])
    plain = Rng(5, step=3).normal("noise", (32, 2))
    assert coupling != "ot" or torch.equal(whole.n.sort(0).values, plain.sort(0).values)


@pytest.mark.parametrize("coupling", ["ot", "sinkhorn"])
def test_accumulation_changes_nothing_but_rounding(coupling):
    one, four = go(make(coupling)), go(make(coupling), accumulate=4)
    for a, b in zip(one, four, strict=True):
        assert a.losses["field"] == pytest.approx(b.losses["field"], rel=1e-5)
        assert a.logs == b.logs and a.logs[f"{coupling}_rows"] == 16
    assert one[0].losses != go(make("independent"))[0].losses


@pytest.mark.slow
def test_two_processes_pair_what_one_does(tmp_path):
    given = ["train", "rectified", "moons", "--labels", *TINY, "--set", "log_every=1"]
    given += ["--set", "coupling=ot", "--out"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "diffode"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = [sys.executable, *launch, *given, str(tmp_path / "two")]
    done = subprocess.run(two, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert run([*given, str(tmp_path / "one")]) == 0
    one, two = (logged(tmp_path / name) for name in ("one", "two"))
    assert len(one) == 2 and one[0]["logs"].keys() == {"ot_cost", "ot_rows"}
    for a, b in zip(one, two, strict=True):
        assert a["logs"] == b["logs"]
        assert a["loss"]["field"] == pytest.approx(b["loss"]["field"], rel=1e-5)


@pytest.mark.slow
def test_batches_that_workers_read_are_paired_as_others(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (64, 1, 8, 8), np.uint8)
    np.save(tmp_path / "images.npy", levels)
    images = data(tmp_path / "images.npy").train

    def losses(workers):
        objective = build("rectified", (1, 8, 8), width=16, depth=1, coupling="ot")
        return [s.losses for s in go(objective, images, accumulate=2, workers=workers)]

    assert losses(2) == losses(0)


def test_a_resumed_run_has_the_same_pairs(tmp_path):
    straight = go(make(classes=2), (X, Y), out=tmp_path / "a")
    options = {"steps": 4, "batch": 16, "device": "cpu", "warmup": 2}
    states = train(make(classes=2), (X, Y), out=tmp_path / "b", **options)
    first = list(islice(states, 2))
    states.close()
    rest = go(make(classes=2), (X, Y), out=tmp_path / "b", resume=tmp_path / "b")
    assert [s.losses for s in first + rest] == [s.losses for s in straight]
    assert [s.logs for s in first + rest] == [s.logs for s in straight]
    with pytest.raises(ValueError, match="coupling ot, the objective sinkhorn"):
        go(make("sinkhorn", 2), (X, Y), steps=6, out=tmp_path / "b", resume=tmp_path / "b")
    assert load(tmp_path / "b").field.coupled


# ------------------------------------------------------------------------------- pairs of a user


def test_pairs_of_a_user_are_what_is_trained_on():
    """Two points, each with a noise of its own: the flow takes the one to the other."""
    n, x = torch.tensor([[-1.0, 0.5], [1.0, -0.5]]), torch.tensor([[0.5, 1.0], [-0.5, -1.0]])
    pairs = Paired(x.repeat(8, 1), n=n.repeat(8, 1))
    objective = build("rectified", (2,), width=32, depth=2, coupling="pairs")
    field = go(objective, pairs, steps=200, lr=5e-3, ema=0.9)[-1].averaged
    end = n - field.velocity(n, 1.0)
    torch.testing.assert_close(end, x, atol=0.1, rtol=0)


def test_pairs_and_an_objective_must_want_each_other():
    with pytest.raises(ValueError, match=r"no noise beside the samples for coupling=pairs"):
        go(make("pairs"))
    for objective in (make("independent"), make("ot"), build("edm", (2,), width=16, depth=1)):
        with pytest.raises(ValueError, match=r"samples paired with noise for coupling="):
            go(objective, Paired(X, n=N))
    with pytest.raises(ValueError, match="noise"):
        go(make("pairs"), Paired(X, n=N[:, :1]))
    with pytest.raises(ValueError, match="96 samples and n of shape"):
        go(make("pairs"), Paired(X, n=N[:50]))
    with pytest.raises(ValueError, match="finite"):
        go(make("pairs"), Paired(X, n=N / 0))


# ------------------------------------------------------------------------ what a coupling changes


def test_a_path_that_does_not_end_at_the_noise_takes_no_coupling():
    assert build("rectified", (2,), schedule="cosine", coupling="ot").field.coupled
    with pytest.raises(ValueError, match=r"coupling=ot on VP.* rectified or cosine"):
        build("rectified", (2,), schedule="vp", coupling="ot")
    with pytest.raises(ValueError, match="has no option 'coupling'"):
        build("vp", (2,), coupling="ot")


def test_what_rests_on_independent_noise_refuses_a_coupled_field():
    field = make().field
    for other in (field, rescheduled(field, "theta"), rescheduled(field, Rectified())):
        with pytest.raises(TypeError, match="coupled pairs"):
            other.score(X, 0.5)
    for solver in ("ancestral", "euler-maruyama", "sde-dpm++"):
        with pytest.raises(TypeError, match="coupling=independent"):
            sample(field, 4, solver, nfe=4)
    with pytest.raises(TypeError, match="coupled pairs"):
        field.corrupt(X, 0.5, Rng(0))
    with pytest.raises(TypeError, match="coupled pairs"):
        conditioned(field, operator(lambda x: x[:, :1], (2,)), torch.zeros(1), 0.1)
    with pytest.raises(TypeError, match="coupled pairs"):
        exact_field(field, MOONS)
    with pytest.warns(DiffodeWarning, match="samplers of k-diffusion that add noise"):
        as_k_diffusion(field)
    assert sample(field, 4, nfe=4).x.shape == sample(field, 4, "ddim", nfe=4).x.shape


def test_a_check_compares_no_coupled_field_with_the_exact_one_of_independent_pairs():
    """The flow alone has to be right."""
    found = {f.check: f for f in diagnose(make().field, X).findings}
    for check in ("direction", "prior", "velocity", "score"):
        assert not found[check].applies and "coupled" in found[check].message
    assert found["flow"].applies


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_an_interpolant_is_coupled_in_the_same_way(gamma):
    """Its score rests on z alone, which no coupling touches, so that nothing is refused."""

    def make(classes=None):
        small = {"width": 16, "depth": 1, "gamma": gamma, "coupling": "ot"}
        return build("interpolant", (2,), classes, data_stats(X), **small)

    whole, logs = make().couple(Batch(X), Rng(0))
    own = make().field.draw(96, Rng(0))
    assert torch.equal(whole.n.sort(0).values, own.sort(0).values)
    assert float(logs["ot_cost"]) < 0.5 * float((X - own).square().sum(1).mean())
    labelled, _ = make(2).couple(Batch(X, Y), Rng(0))
    assert bool((Y[torch.cdist(labelled.n, own).argmin(1)] == Y).all())
    one, four = go(make()), go(make(), accumulate=4)
    assert [s.losses["field"] for s in one] == pytest.approx(
        [s.losses["field"] for s in four], rel=1e-5
    )
    if gamma:
        assert sample(make().field, 4, "sde-interpolant", steps=4).x.shape == (4, 2)


# ----------------------------------------------------------------------------------- straightness


def test_defect_of_straight_paths_of_even_speed_is_none():
    t = torch.linspace(1, 0, 9).double()
    start, way = Rng(3).normal("start", (5, 3)), Rng(3).normal("way", (5, 3))
    even = start + (1 - t.float())[:, None, None] * way
    assert float(straightness_defect(even, t).value) == pytest.approx(0, abs=1e-6)
    late = start + (1 - t.float())[:, None, None] ** 2 * way
    assert float(straightness(late).value) == pytest.approx(1)
    fine = torch.linspace(0, 1, 400).double()
    late = start.double() + fine[:, None, None] ** 2 * way.double()
    third = way.double().square().sum(1).mean() / 3  # int (2 t - 1)^2 dt
    assert float(straightness_defect(late, 5 * fine).value) == pytest.approx(float(third), 1e-4)
    with pytest.raises(ValueError, match="8 times for a path of 9 states"):
        straightness_defect(even, t[:8])
