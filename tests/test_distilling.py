"""A run distilled into a flow map: how it begins, what it learns, how it goes on."""

import json
import shutil

import pytest
import torch

from diffode import load, sample
from diffode.cli.app import run
from diffode.nn import network
from diffode.rng import Rng
from diffode.runs.distilling import Distillation
from diffode.runs.run import fit
from diffode.runs.targets import resolve
from diffode.solvers import get_solver
from diffode.training.warm import copy_wider
from tests.runs import arrays, beside, figures, refused

SMALL = {"steps": 40, "batch": 64, "width": 24, "depth": 1, "device": "cpu"}
TINY = ["--device", "cpu", "--samples", "20"]
PATHS = ["--pairs", "40", "--pairs-nfe", "4"]
TINY += ["--set", "batch=16", "--set", "save_every=4"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def teacher(home):
    made = {}

    def get(name, data="moons", **options):
        key = f"{name}-{data}" + options.get("coupling", "")
        if key not in made:
            made[key] = home / key
            fit(name, data, out=made[key], **SMALL, **options)
        return made[key]

    return get


@pytest.fixture
def student(teacher, tmp_path, monkeypatch):
    """The options of a student of a small run, already trained."""
    monkeypatch.chdir(tmp_path)

    def get(*given, name="edm", data="moons", out="student", **options):
        target = teacher(name, data, **options)
        tiny = beside(given, TINY + ([] if "--objective" in given else PATHS))
        assert run(["distil", str(target), *given, *tiny, "--out", out]) == 0
        return tmp_path / out

    return get


# ------------------------------------------------------------------------------- the first weights


@pytest.mark.parametrize("kind", ["mlp", "unet", "dit"])
def test_new_numbers_change_nothing_at_first(kind):
    shape = (1, 8, 8)
    old, new = (network(shape, kind, k, 3, width=8, seed=k) for k in (2, 4))
    with torch.no_grad():
        for k, p in enumerate(old.parameters()):
            p.add_(0.1 * Rng(k).normal("w", (p.numel(),)).view_as(p))
    copy_wider(old, new)
    x, y = Rng(1).normal("x", (5, *shape)), torch.arange(5) % 3
    told, more = Rng(2).normal("c", (5, 2)), Rng(3).normal("c", (5, 2))
    torch.testing.assert_close(new(x, torch.cat((told, more), 1), y), old(x, told, y))


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match="cannot be told a second time"):
        copy_wider(torch.nn.Linear(2, 2), network((2,), width=8))
    with pytest.raises(ValueError, match="differ beside the numbers told"):
        copy_wider(network((2,), width=8), network((2,), width=16, conditions=2))


@pytest.mark.parametrize("name", ["edm", "vp", "rectified", "ddpm", "poisson", "pfgmpp"])
def test_a_warm_student_is_the_ddim_of_its_teacher(name, teacher):
    target = resolve(teacher(name))
    distillation = Distillation.of(target)
    plan = distillation.plan(2, "lagrangian", 0, {"device": "cpu"})
    assert plan.options["warm"] and plan.options["of"] == name
    from diffode.runs.run import untrained

    lesson = distillation.lesson(plan, None, lambda rows: None)
    objective = untrained(plan, target.dataset(), lesson.stats)
    lesson.prepare(objective)
    field, own = target.field, objective.field
    start, moved = field.start(6, Rng(1)), own.start(6, Rng(1)).field
    first, last = field.span
    times = torch.linspace(0, 1, 5, dtype=torch.float64) * (last - first) + first
    jumps, ddim = (
        get_solver(n)(f, start.x.double(), times, path=True).path
        for n, f in (("jump", moved), ("ddim", start.field))
    )
    scale = ddim.abs().amax((1, 2), keepdim=True)
    torch.testing.assert_close(jumps / scale, ddim / scale, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------- the command


def test_a_student_is_a_run(student, teacher, tmp_path, capsys):
    out = student("--steps", "6", "--nfe", "2")
    said = capsys.readouterr().out
    assert "2 evaluations each" in said and (out / "samples.png").exists()
    assert figures(out / "teacher.json")["pairs"] == 40
    field = load(out).field
    assert sample(field, 3).nfe == 2 and field.evaluations == 2
    assert run(["sample", str(out), "--nfe", "1", "--out", "x.npz"]) == 0
    assert "1 evaluation each" in capsys.readouterr().out
    assert run(["eval", str(out), "--nfe", "4", "--samples", "40"]) == 0
    assert "with jump, 4 evaluations each" in capsys.readouterr().out
    card = ["likelihood", str(out), "--points", "2", "--set", "rtol=.1", "--set", "atol=.1"]
    assert run(card) == 0
    assert "density of the flow of the map's diagonal" in capsys.readouterr().err
    given = ["--nfe", "1", "--nfe", "4", "--samples", "60", "--device", "cpu"]
    assert run(["bench", str(out), *given, "--out", "page"]) == 0
    cells = [figures(path) for path in (tmp_path / "page" / "cells").rglob("*.json")]
    assert sorted(cell["nfe"] for cell in cells if cell.get("solver") == "own") == [1, 4]


def test_a_student_goes_on_exactly(student, teacher):
    whole, parts = student("--steps", "8"), student("--steps", "4", out="parts")
    go_on = ["distil", str(teacher("edm")), "--resume", str(parts), "--samples", "20"]
    assert run([*go_on, "--steps", "8", "--device", "cpu"]) == 0
    one, two = (arrays(out / "samples.npz")["x"] for out in (whole, parts))
    assert one.shape == two.shape  # the rates differ: another number of steps was asked for
    shutil.copytree(whole, "stopped")
    last = sorted((whole / "checkpoints").iterdir())[-1]
    (parts.with_name("stopped") / "checkpoints" / last.name).unlink()
    go_on[3] = "stopped"
    assert run([*go_on, "--device", "cpu"]) == 0
    stopped = parts.with_name("stopped")
    assert arrays(stopped / "samples.npz")["x"].tolist() == one.tolist()


def test_paths_that_are_there_are_read(student, teacher, tmp_path, capsys):
    out = student("--steps", "2")
    again = tmp_path / "again"
    shutil.copytree(out / "paths", again / "paths")
    shutil.copy(out / "teacher.json", again / "teacher.json")
    part = next((again / "paths").glob("*.npz"))
    before = part.stat().st_mtime_ns
    given = ["distil", str(teacher("edm")), *PATHS, *TINY, "--steps", "2", "--out", str(again)]
    assert run(given) == 0 and part.stat().st_mtime_ns == before
    assert arrays(again / "samples.npz")["x"].tolist() == arrays(out / "samples.npz")["x"].tolist()
    other = tmp_path / "other"
    shutil.copytree(again / "paths", other / "paths")
    shutil.copy(out / "teacher.json", other / "teacher.json")
    given[-1] = str(other)
    fewer = ["30" if word == "40" else word for word in given]
    assert "begun with pairs 40, not 30" in refused(capsys, *fewer)
    assert "another field, number, seed" in refused(capsys, *given, "--seed", "5")
    next((other / "paths").glob("*.npz")).write_bytes(b"PK")
    assert "is damaged; delete it" in refused(capsys, *given)


def test_the_paths_of_a_poisson_run_have_their_q(student):
    out = student("--steps", "2", name="poisson")
    part = arrays(next((out / "paths").glob("*.npz")))
    assert part["q"].shape == (40,) and part["angles"][-1] == 0
    assert part["states"].shape == (40, len(part["angles"]), 2)
    assert abs(part["states"]).max() < 20  # in the state of unit scale at every angle
    assert sample(load(out).field, 5).q.shape == (5,)


def test_a_guided_run_with_labels(student, teacher, capsys):
    given = ("--guidance", "2", "--steps", "2")
    out = student(*given, name="edm", data="digits", out="guided", labels=True)
    assert run(["sample", "guided", "--label", "3", "--n", "4", "--out", "x.npz"]) == 0
    assert arrays("x.npz")["y"].tolist() == [3] * 4
    assert "draws nothing without a label" in refused(capsys, "sample", "guided")
    target = str(teacher("edm", "digits"))
    message = refused(capsys, "distil", target, "--resume", out, "--steps", "4")
    assert "distilled from another field" in message
    go_on = ["distil", target, "--guidance", "2", "--resume", str(out), "--steps", "3"]
    assert run([*go_on, "--samples", "20", "--device", "cpu"]) == 0


def test_a_student_of_coupled_pairs_has_no_score(student, capsys):
    out = student("--steps", "2", name="rectified", coupling="ot")
    target, given = str(out), ("--device", "cpu", "--out", out.parent / "x.npz")
    assert "coupled pairs" in refused(capsys, "sample", target, "--solver", "ancestral", *given)
    given = ("--operator", "mask:random:.5", "--noise", ".1", *given)
    assert "coupled pairs" in refused(capsys, "restore", target, "test", *given)
    assert not (out.parent / "x.npz").exists()


def test_a_student_of_data_alone_is_not_coupled(student):
    given = ("--objective", "progressive", "--from-data", "--steps", "2")
    assert not load(student(*given, name="rectified", coupling="ot")).field.coupled


def test_a_labelled_student_also_knows_no_label(student, teacher):
    out = student("--steps", "2", name="edm", data="digits", labels=True)
    part = [arrays(p)["told"] for p in sorted((out / "paths").glob("*.npz"))]
    assert [told.tolist() for told in part] == [[True] * 36, [False] * 4]
    assert sample(load(out).field, 3).x.shape == (3, 1, 8, 8)
    assert sample(load(out).field, 3, y=2).x.shape == (3, 1, 8, 8)


def test_what_cannot_be_distilled_is_refused(teacher, student, tmp_path, capsys):
    edm = teacher("edm")
    assert "for 1, 2 or 4 evaluations" in refused(capsys, "distil", edm, "--nfe", "3")
    assert "objective" in refused(capsys, "distil", edm, "--objective", "magic")
    assert "states it itself" in refused(capsys, "distil", edm, "--set", "warm=false")
    assert "run without labels" in refused(capsys, "distil", edm, "--guidance", "2")
    assert "got --classifier" in refused(
        capsys, "distil", edm, "--guidance", "2", "--classifier", edm
    )
    message = refused(capsys, "distil", teacher("monoflow"))
    assert "is a run of monoflow, which is no path" in message
    assert "got --from-data for --objective pairs" in refused(capsys, "distil", edm, "--from-data")
    assert "which draws no paths" in refused(
        capsys, "distil", edm, "--objective", "lagrangian", "--pairs", "40"
    )
    out = student("--steps", "2")
    assert "is a flow map already" in refused(capsys, "distil", out)
    assert "holds a run" in refused(capsys, "distil", edm, "--out", out)
    assert "keeps its nfe" in refused(capsys, "distil", edm, "--resume", out, "--nfe", "2")
    assert "is no run of diffode distil" in refused(capsys, "distil", edm, "--resume", edm)
    assert "diffode distil RUN" in refused(capsys, "train", "--resume", out, "--steps", "9")
    assert "jump needs a FlowMap" in refused(capsys, "sample", edm, "--solver", "jump")
    (out / "teacher.json").write_text(json.dumps({"key": "0"}))
    assert "distilled from another field" in refused(
        capsys, "distil", edm, "--resume", out, "--steps", "4"
    )


@pytest.mark.parametrize(
    ("objective", "more"),
    [
        ("lagrangian", []),
        ("lagrangian", ["--from-data"]),
        ("progressive", ["--from-data"]),
        ("meanflow", []),
        ("consistency", []),
    ],
)
def test_other_objectives_go_on_exactly(objective, more, student, teacher):
    """Each from the weights of the run, with its velocity or that of the data."""
    whole = student("--objective", objective, "--steps", "8", *more)
    expected = arrays(whole / "samples.npz")["x"]
    assert sample(load(whole).field, 2).nfe == 1
    sorted((whole / "checkpoints").iterdir())[-1].unlink()
    assert not (whole / "paths").exists()
    target = str(teacher("edm"))
    go_on = ["distil", target, "--resume", str(whole), "--samples", "20", "--device", "cpu"]
    if more:
        assert run(go_on) == 2
    assert run([*go_on, *more]) == 0
    assert arrays(whole / "samples.npz")["x"].tolist() == expected.tolist()


def test_pairs_bring_a_student_nearer_than_ddim(student, teacher):
    out = student("--steps", "150", "--pairs", "256", "--set", "lr=6e-3")
    field, own = load(teacher("edm")).field, load(out).field
    exact, one, map_ = (
        sample(f, 256, s, nfe=k, seed=4).x
        for f, s, k in ((field, None, 40), (field, "ddim", 2), (own, None, 1))
    )
    gap = [float((x - exact).square().sum(1).mean().sqrt()) for x in (one, map_)]
    assert gap[1] < 0.5 * gap[0], gap
