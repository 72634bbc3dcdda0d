"""Flows from one kind of data to another: `--prior-data`, kept with the run."""

import json
import re

import numpy as np
import pytest
import torch

import diffode
from diffode.cli.app import run
from diffode.data import load
from diffode.fields import StartingPoints
from diffode.rng import Rng
from diffode.runs.pairs import read_pairs
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.training import Batch, Paired
from diffode.training.trainer import train
from tests.clouds import p_value
from tests.runs import TINY, arrays, edited, made, refused

SMALL = {"steps": 6, "batch": 16, "width": 8, "depth": 1, "device": "cpu", "save_every": 3}
PRIOR = {"prior_data": "eight-gaussians"}


def points(path, shift=0.0, classes=2):
    """A file of points whose place tells their class."""
    y = np.arange(120) % classes
    np.savez(path, x=Rng(1).normal("x", (120, 2)).numpy() + 10 * y[:, None] + shift, y=y)
    return path


def test_a_draw_depends_on_its_row_alone_and_takes_every_point_alike():
    x = torch.arange(10.0)[:, None].expand(10, 2)
    start = StartingPoints(x)
    whole = start.draw(2000, Rng(3))
    rows = torch.arange(700, 800)
    assert torch.equal(start.draw(100, Rng(3).rows(rows)), whole[rows])
    counts = whole[:, 0].long().bincount(minlength=10)
    assert float(((counts - 200.0).square() / 200).sum()) < 27.9  # chi squared of 9, p = .001
    assert not torch.equal(start.draw(100, Rng(3).at(1)), whole[:100])


def test_points_are_drawn_of_the_class_of_a_label_and_else_by_the_share_of_each_class():
    x, y = torch.arange(12.0)[:, None], torch.tensor([0, 1, 2, 2] * 3)
    start = StartingPoints(x, y, torch.tensor([3.0, 1.0, 0.0]))
    labels = torch.arange(1000) % 3
    drawn = start.draw(1000, Rng(0), labels)[:, 0].long()
    assert torch.equal(y[drawn], labels)
    assert set(drawn.tolist()) == set(range(12))
    free = y[start.draw(4000, Rng(1))[:, 0].long()].bincount(minlength=3) / 4000
    assert torch.allclose(free, torch.tensor([0.75, 0.25, 0.0]), atol=0.03)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((torch.tensor([[1.0, float("nan")]]),), "values that are not finite"),
        ((torch.ones(3),), r"shape \(3,\); wanted finite ones"),
        ((torch.ones(3, 2), torch.tensor([0, 1, 1])), "labels or shares of starting points alone"),
        (
            (torch.ones(2, 2), torch.tensor([0, 0]), torch.ones(2)),
            "label 1 of the data has no starting points",
        ),
    ],
)
def test_what_are_no_starting_points_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        StartingPoints(*given)


def test_a_label_without_starting_points_and_classes_that_differ_are_refused():
    x, y = torch.arange(6.0)[:, None], torch.tensor([0, 1, 1] * 2)
    start = StartingPoints(x, y, torch.tensor([1.0, 1.0, 0.0]))
    field = diffode.build("interpolant", (1,), 3, starting=start, width=8, depth=1).field
    assert diffode.sample(field, 2, steps=1, y=1).x.shape == (2, 1)
    with pytest.raises(ValueError, match="label 2 has no starting points"):
        diffode.sample(field, 2, steps=1, y=2)
    with pytest.raises(ValueError, match="starting points of 3 classes for a network of 4"):
        diffode.build("interpolant", (1,), 4, starting=start, width=8, depth=1)


def test_pairs_for_training_have_one_class(tmp_path):
    data, start = points(tmp_path / "data.npz"), points(tmp_path / "start.npz", 100.0)
    options = {**SMALL, "labels": True, "prior_data": start}
    objective = diffode.fit("interpolant", data, **options).objective
    seen = {}
    inner = objective.field.interpolant

    class Watched:
        def rate(self, t, x0, x1):
            seen.setdefault("ends", (x0, x1))  # later calls are of the means
            return inner.rate(t, x0, x1)

        def __getattr__(self, name):
            return getattr(inner, name)

    objective.field.interpolant = Watched()
    y = torch.arange(40) % 2
    kept = objective.starting.x, objective.starting.y
    objective("field", Batch(torch.zeros(40, 2), y), Rng(0))
    drawn = seen["ends"][1]
    for row, label in zip(drawn, y, strict=True):
        assert (kept[0][kept[1] == label] == row).all(1).any()


def test_coupled_pairs_have_one_class_too(tmp_path):
    data, start = points(tmp_path / "data.npz"), points(tmp_path / "start.npz", 100.0)
    options = {**SMALL, "labels": True, "prior_data": start, "coupling": "ot"}
    objective = diffode.fit("interpolant", data, **options).objective
    y, kept = torch.arange(40) % 2, objective.starting
    batch, _ = objective.couple(Batch(torch.zeros(40, 2), y), Rng(0))
    for row, label in zip(batch.n, y, strict=True):
        assert (kept.x[kept.y == label] == row).all(1).any()


def test_pairs_of_a_user_join_two_sets_and_stay_with_the_run(tmp_path):
    """In the units of the data, in a file and in memory; other starts are warned of."""
    x = 50 + 9 * Rng(0).normal("x", (40, 2))
    start = 20 + 4 * Rng(1).normal("start", (40, 2))
    for name, held in {"data": {"x": x}, "start": {"x": start}}.items():
        np.savez(tmp_path / f"{name}.npz", **{k: v.numpy() for k, v in held.items()})
    np.savez(tmp_path / "pairs.npz", x=x.numpy(), n=start.numpy())
    given = ["train", "interpolant", tmp_path / "data.npz", "--prior-data", tmp_path / "start.npz"]
    given += ["--scale", "standard", *TINY, "--out", tmp_path / "run"]
    assert run([*map(str, given), "--pairs", str(tmp_path / "pairs.npz")]) == 0
    (tmp_path / "pairs.npz").unlink()
    more = ["train", "--resume", str(tmp_path / "run"), "--steps", "4", "--samples", "20"]
    assert run(more) == 0, "the run has them"
    field, kept = diffode.load(tmp_path / "run").field, tmp_path / "run" / "pairs.npz"
    pairs = read_pairs(kept, field, None, field.starting)
    torch.testing.assert_close(field.scaling.to_data(pairs.n), start)
    torch.testing.assert_close(field.scaling.to_data(pairs.x), x)
    options = {"prior_data": tmp_path / "start.npz", "reading": {"scale": "standard"}, **SMALL}
    one = diffode.fit("interpolant", tmp_path / "data.npz", pairs=kept, **options)
    out = tmp_path / "api"
    two = diffode.fit("interpolant", tmp_path / "data.npz", pairs=pairs, out=out, **options)
    losses = [[row["field"] for row in made.losses] for made in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    torch.testing.assert_close(
        read_pairs(out / "pairs.npz", field, None, field.starting).n, pairs.n
    )
    with pytest.warns(UserWarning, match="the start n has a mean square of"):
        np.savez(kept, x=x.numpy(), n=start.numpy() + 10)
        read_pairs(kept, field, None, field.starting)


def test_pairs_of_a_user_are_the_ends_of_the_curves():
    """Two points, each with a start of its own far from the other's: the flow takes it there."""
    x, start = torch.tensor([[0.5, 1.0], [-0.5, -1.0]]), torch.tensor([[-3.0, 0.5], [3.0, -0.5]])
    given = {"coupling": "pairs", "width": 32, "depth": 2, "starting": StartingPoints(start)}
    objective = diffode.build("interpolant", (2,), **given)
    pairs = Paired(x.repeat(8, 1), n=start.repeat(8, 1))
    fast = {"steps": 200, "batch": 16, "lr": 5e-3, "ema": 0.9, "warmup": 2, "device": "cpu"}
    field = list(train(objective, pairs, **fast))[-1].averaged
    end = start - field.velocity(start, 1.0)
    torch.testing.assert_close(end, x, atol=0.2, rtol=0)


def test_a_run_goes_on_exactly_and_samples_without_the_file(tmp_path):
    file = points(tmp_path / "start.npz")
    plan = Plan.make("interpolant", "moons", prior_data=str(file), **SMALL)
    part, whole = tmp_path / "part", tmp_path / "whole"
    execute(plan, out=whole)
    execute(plan, out=part, watch=lambda state: state.step == 3)
    file.unlink()
    execute(Plan.read(part), out=part, resume=True)
    one, two = (diffode.load(folder, "raw").field for folder in (part, whole))
    assert torch.equal(one.starting.x, two.starting.x) and one.prior is None
    assert torch.equal(diffode.sample(one, 5, steps=3).x, diffode.sample(two, 5, steps=3).x)


def test_a_run_without_a_checkpoint_wants_the_points_that_it_was_begun_with(tmp_path):
    file, out = points(tmp_path / "start.npz"), tmp_path / "run"
    plan = Plan.make("interpolant", "moons", prior_data=str(file), **SMALL)
    execute(plan, out=out, watch=lambda state: state.step == 3)
    for path in (out / "checkpoints").iterdir():
        path.unlink()
    points(file, shift=0.1)
    with pytest.raises(ValueError, match="not the prior data that this run was begun with"):
        execute(Plan.read(out), out=out, resume=True)


def test_points_in_memory_start_a_flow_in_the_units_of_the_data(tmp_path):
    x = 1000 + 50 * Rng(0).normal("x", (200, 2)).numpy()
    start = 900 + 50 * Rng(1).normal("x", (200, 2)).numpy()
    found = diffode.fit("interpolant", x, prior_data=start, reading={"scale": "standard"}, **SMALL)
    rows = found.field.to_data(found.field.starting.x, 1.0)
    nearest = torch.cdist(rows.double(), torch.as_tensor(start).double()).min(1).values
    assert float(nearest.max()) < 1e-2
    with pytest.raises(ValueError, match="got prior data memory of shape"):
        diffode.fit("interpolant", x, prior_data=start[:, :1], **SMALL)


def test_a_large_set_is_kept_in_part_and_the_part_is_told(monkeypatch):
    monkeypatch.setattr("diffode.runs.starting.MOST", 100)
    with pytest.warns(UserWarning, match="of the 20,000 rows .* the flow starts from 50"):
        found = diffode.fit("interpolant", "moons", **PRIOR, **SMALL)
    assert len(found.field.starting) == 50


def test_the_commands_carry_one_set_to_another_and_back(tmp_path, capsys):
    folder = made(tmp_path, "interpolant", "moons", "--prior-data", "eight-gaussians")
    out, back = tmp_path / "x.npz", tmp_path / "z.npz"
    assert run(["sample", str(folder), "--samples", "9", "--nfe", "4", "--out", str(out)]) == 0
    few = ["--solver", "heun", "--nfe", "8", "--device", "cpu"]
    assert run(["encode", str(folder), str(out), *few, "--out", str(back)]) == 0
    assert arrays(back)["x"].shape == (9, 2)
    assert "density is not known" in refused(capsys, "likelihood", folder, "--points", "2")
    again = ["--config", folder / "config.json", "--dry-run", "--out", tmp_path / "again"]
    capsys.readouterr()
    assert run(["train", *map(str, again)]) == 0
    assert "20000 points of eight-gaussians" in capsys.readouterr().out
    assert json.loads((folder / "config.json").read_text())["prior_data"] == "eight-gaussians"


REFUSED = {
    "edm starts from noise alone; leave prior data away": ["edm", "moons"],
    "got prior data eight-gaussians of shape (2,) for data of shape (1, 8, 8)": ["interpolant"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_start_from_data_is_refused(tmp_path, capsys, message):
    given = ["train", *REFUSED[message], "--prior-data", "eight-gaussians"]
    assert message in refused(capsys, *given, "--steps", "2", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_starting_points(tmp_path, capsys):
    folder = made(tmp_path, "interpolant", "moons", "--prior-data", "eight-gaussians")
    other = ["train", "--resume", folder, "--prior-data", "moons", "--steps", "4"]
    assert "starts from where it did; leave --prior-data away" in refused(capsys, *other)
    plan = Plan.make("interpolant", "moons", batch=16, steps=2, width=16, depth=1, device="cpu")
    with pytest.raises(ValueError, match="is a run with prior_data eight-gaussians, not None"):
        execute(plan, out=folder, resume=True)


@pytest.mark.slow
def test_a_trained_flow_carries_each_law_to_the_other():
    small = {"steps": 1400, "width": 64, "depth": 2, "batch": 256}
    field = diffode.fit("interpolant", "moons", **PRIOR, **small).field
    test, start = load("moons").test[:1000], load("eight-gaussians").test[:1000]
    assert p_value(diffode.sample(field, 1000).x, test) > 0.01
    back = diffode.encode(field, test, "heun", steps=20).x
    assert p_value(back, start) > 0.01


WRONG = {
    "starting points cannot be used: there is no tensor of the points, x": lambda t: t.pop(
        "prior/x"
    ),
    "values that are not finite": lambda t: t["prior/x"].fill_(float("inf")),
    "got starting points of shape (1,) for data of shape (2,)": lambda t: t.update(
        {"prior/x": t["prior/x"][:, :1].clone()}
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_checkpoint_whose_starting_points_are_none_is_refused(tmp_path, message):
    labelled = points(tmp_path / "data.npz"), points(tmp_path / "start.npz")
    options = {**SMALL, "labels": True, "prior_data": labelled[1]}
    objective = diffode.fit("interpolant", labelled[0], **options).objective
    file = diffode.save(objective, tmp_path / "whole.safetensors")
    wrong = edited(tmp_path / "wrong.safetensors", file, lambda header, t: WRONG[message](t))
    assert diffode.load(file).starting.y is not None
    with pytest.raises(ValueError, match=re.escape(message)):
        diffode.load(wrong)


def test_a_configuration_of_a_run_from_points_in_memory_is_refused(tmp_path, capsys):
    start = Rng(0).normal("x", (50, 2))
    diffode.fit("interpolant", "moons", prior_data=start, out=tmp_path / "run", **SMALL)
    told = refused(capsys, "train", "--config", tmp_path / "run" / "config.json")
    assert "starts from points in memory; begin such a run in Python" in told
    assert diffode.load(tmp_path / "run").starting.x.shape == (45, 2)  # a tenth held out
