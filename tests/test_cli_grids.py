"""A grid that ``diffode fit-grid`` wrote, in the hands of ``diffode sample``."""

from pathlib import Path

import pytest

from diffode.cli.app import run
from tests.runs import arrays, hints, made, refused
from tests.wrappers import FLOWS

SMALL = ["--steps", "2", "--pilot", "8", "--device", "cpu"]
UNFIT = {
    "adds noise": {"ancestral", "euler-maruyama", "pc", "churn", "sde-dpm++", "sde-trig"},
    "chooses its own steps": {"dopri5-rows", "tsit5-rows", "dopri5", "dopri8", "bosh3"}
    | {"fehlberg2", "adaptive_heun", "scipy_solver"},
    "assumes equal steps": {"explicit_adams", "implicit_adams"},
    "needs a FlowMap": {"jump"},
}
FIT = sorted(set(FLOWS) - set.union(*UNFIT.values()))


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    return made(tmp_path_factory.mktemp("moons"), "--field", "edm", "--data", "moons")


@pytest.fixture(scope="module")
def grids(moons, tmp_path_factory):
    """The grid of each solver that takes one, and what was said when it was written."""
    folder, known = tmp_path_factory.mktemp("grids"), {}

    def get(solver, capsys):
        if solver not in known:
            path = folder / f"{solver}.json"
            given = [str(moons), "--solver", solver, *SMALL, "--out", str(path)]
            assert run(["fit-grid", *given]) == 0
            known[solver] = path, capsys.readouterr().out
        return known[solver]

    return get


@pytest.mark.parametrize("solver", FIT)
def test_the_line_that_fit_grid_prints_samples_on_the_grid(
    solver, grids, tmp_path, monkeypatch, capsys
):
    _, said = grids(solver, capsys)
    monkeypatch.chdir(tmp_path)
    (hint,) = hints(said)
    assert run(hint) == 0
    assert Path("samples.png").stat().st_size > 0
    assert run([*hint, "--n", "3", "--out", "x.npz", "--solver", solver]) == 0
    assert arrays("x.npz")["x"].shape == (3, 2)


@pytest.mark.parametrize("reason", UNFIT)
def test_a_solver_without_a_use_for_a_grid_is_refused_in_one_line(reason, moons, tmp_path, capsys):
    for solver in sorted(UNFIT[reason]):
        out = tmp_path / "grid.json"
        message = refused(capsys, "fit-grid", moons, "--solver", solver, *SMALL, "--out", out)
        assert f"{solver} {reason}" in message and not out.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--solver heun", "this grid was fitted for trig, not for another"),
        ("--set order=3", "this grid was fitted for trig, not for another"),
        ("--nfe 1", "this grid has 2 steps; leave out nfe and steps"),
        ("--steps 3", "this grid has 2 steps"),
    ],
)
def test_a_grid_beside_what_it_was_not_fitted_for(given, message, grids, moons, tmp_path, capsys):
    path, _ = grids("trig", capsys)
    out = tmp_path / "x.png"
    text = refused(capsys, "sample", moons, "--grid", path, *given.split(), "--out", out)
    assert message in text and not out.exists()


def test_the_grid_keeps_the_options_of_its_solver(moons, tmp_path, capsys):
    path = tmp_path / "grid.json"
    options = ["--solver", "ab", "--set", "order=1"]
    assert run(["fit-grid", str(moons), *options, *SMALL, "--out", str(path)]) == 0
    given = ["sample", str(moons), "--n", "3", "--grid", str(path)]
    assert run([*given, "--out", str(tmp_path / "a.npz")]) == 0
    assert run([*given, *options, "--out", str(tmp_path / "b.npz")]) == 0
    a, b = (arrays(tmp_path / f"{name}.npz")["x"] for name in "ab")
    assert (a == b).all()
    assert "fitted for ab, order=1, not" in refused(capsys, *given, "--solver", "ab")


def test_the_bar_of_a_fit_that_settles_early_ends_full(moons, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "diffode.cli.progress.Bar.advance",
        lambda self, done, note="", total=None: seen.append((done, total, note)),
    )
    out = str(tmp_path / "grid.json")
    assert run(["fit-grid", str(moons), "--weights", *SMALL, "--out", out]) == 0
    done, total, note = seen[-1]
    assert done == total == len(seen) - 1 and note == f"settled in {done} rounds"
