"""Flips and crops: drawn for each sample of each step, kept by a run, told to the network."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from diffode import build, sample, train
from diffode.data.source import Source
from diffode.rng import Rng
from diffode.runs.run import execute, fit
from diffode.training import checkpoint
from diffode.training.batches import Batch, Batches, Streamed
from diffode.training.transforms import Transform
from tests.quick import quick

EVENT = (2, 5, 6)
ROWS = np.random.default_rng(0).normal(size=(60, *EVENT)).astype(np.float32)
X = torch.from_numpy(ROWS)


def begin(data=X, recipe="edm", **options):
    told = {k: options.pop(k) for k in ("flip_label",) if k in options}
    objective = build(recipe, EVENT, width=8, depth=1, network="mlp", **told)
    return train(objective, data, **{"steps": 4, "batch": 16, "device": "cpu", **options})


def losses(states):
    return [state.losses for state in states]


# ---------------------------------------------------------------------------------- what they do


def test_half_of_the_images_are_mirrored_and_marked():
    batch = Transform(flip=True)(Batch(X.repeat(10, 1, 1, 1)), Rng(0))
    assert 240 < int(batch.flipped.sum()) < 360
    for x, found, flipped in zip(X.repeat(10, 1, 1, 1), batch.x, batch.flipped, strict=True):
        assert torch.equal(found, x.flip(-1) if flipped else x)


def test_a_crop_moves_each_image_both_ways_and_repeats_its_edges():
    place = torch.arange(30.0).view(1, 1, 5, 6).repeat(500, 1, 1, 1)
    found = Transform(crop=2)(Batch(place), Rng(0)).x
    padded = torch.nn.functional.pad(place[:1], (2, 2, 2, 2), mode="replicate")[0, 0]
    windows = [padded[i : i + 5, j : j + 6] for i in range(5) for j in range(5)]
    which = [[torch.equal(x[0], window) for window in windows].index(True) for x in found]
    assert set(which) == set(range(25)), "some way is never taken"


def test_they_belong_to_seed_step_and_row():
    every, rows = Transform(flip=True, crop=1), torch.arange(16)
    batches = Batches(Batch(X), 16, 3, every)
    whole = batches.at(5, rows).x
    parts = [batches.at(5, piece).x for piece in rows.chunk(4)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(Batches(Streamed(Source(ROWS)), 16, 3, every).at(5, rows).x, whole)
    order = Batches(Batch(X), 16, 3).at(5, rows)
    other = every(order, Rng(4, step=5, rows=rows)).x, every(order, Rng(3, step=6, rows=rows)).x
    assert not any(torch.equal(x, whole) for x in other)


def test_a_source_and_its_rows_in_memory_are_trained_alike_and_off_is_off():
    assert losses(begin(flip=True, crop=1)) == losses(begin(Source(ROWS), flip=True, crop=1))
    assert losses(begin()) == losses(begin(flip=False, crop=0)) != losses(begin(flip=True))


@pytest.mark.parametrize("recipe", ["gan", "poisson", "rectified", "monoflow"])
def test_every_objective_takes_flipped_samples(recipe):
    assert len(losses(begin(recipe=recipe, flip=True, crop=1))) == 4


# -------------------------------------------------------------------------------------- refusals


@dataclass(frozen=True)
class Paired(Batch):
    noise: torch.Tensor | None = None


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (X, {"crop": 5}, "crop=5 for images of 5x6"),
        (Paired(X, noise=X), {"flip": True}, "flip for samples with noise beside them"),
        (X, {"flip_label": True}, "train with flip=True too"),
    ],
)
def test_what_cannot_be_transformed_is_refused(data, options, said):
    with pytest.raises(ValueError, match=said):
        next(begin(data, **options))


def test_points_are_not_flipped_and_critics_are_not_told():
    with pytest.raises(ValueError, match=r"flip for events of shape \(2,\)"):
        fit("edm", "moons", flip=True, steps=2)
    with pytest.raises(ValueError, match=r"flip_label for events of shape \(2,\)"):
        build("edm", (2,), flip_label=True)
    with pytest.raises(ValueError, match="told no flips"):
        build("gan", EVENT, flip_label=True)


# --------------------------------------------------------------------------------------- of a run


def test_a_run_keeps_them_and_older_runs_had_none(tmp_path):
    options = {"steps": 4, "batch": 16, "width": 8, "depth": 1, "device": "cpu"}
    run = fit("edm", "digits", out=tmp_path / "a", flip=True, crop=1, flip_label=True, **options)
    stored = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (stored["training"]["flip"], stored["training"]["crop"]) == (True, 1)
    assert run.field.flip_label and stored["options"]["flip_label"] is True
    more = replace(run.plan, training={**run.plan.training, "steps": 6, "crop": 2})
    with pytest.raises(ValueError, match="a run with crop 1, not 2"):
        execute(more, out=tmp_path / "a", resume=True)
    header = checkpoint.peek(checkpoint.file_at(tmp_path / "a"))[0]
    before = {k: v for k, v in header["training"].items() if k not in ("flip", "crop")}
    with pytest.raises(ValueError, match="trained with flip False, not True"):
        checkpoint.require_training({"training": before}, header["training"], None)


# ------------------------------------------------------------------------------- what is learned


def drawn(recipe, **options):
    """Of samples of a field that learns dark pixels left of bright ones: the share of such."""
    told = {k: options.pop(k) for k in ("flip_label",) if k in options}
    x = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2) + 0.1 * torch.randn(200, 1, 1, 2)
    objective = build(recipe, (1, 1, 2), network="mlp", width=32, depth=2, **told)
    training = {"steps": 250, "batch": 128, "lr": 5e-3, "warmup": 10, "ema": 0.98}
    *_, last = train(objective, x, device="cpu", **training, **options)
    found = sample(last.averaged, 500, seed=1).x
    assert (found.abs() - 1).abs().mean() < 0.25, "nothing was learned"
    return float((found[..., 1] > found[..., 0]).double().mean())


@pytest.mark.parametrize("recipe", quick(["edm", "poisson", "rectified"], 0))
def test_a_network_that_is_told_draws_no_mirrored_image(recipe):
    torch.manual_seed(0)
    assert 0.35 < drawn(recipe, flip=True) < 0.65, "plain flips draw both"
    assert drawn(recipe, flip=True, flip_label=True) > 0.99
    assert drawn(recipe) > 0.99
