"""The main job's result: digits that pass a judge which a Gaussian fit and a copy do not pass."""

import math

import pytest
import torch

from diffode.data import load
from diffode.metrics import gaussian_fit, nearest, quality
from diffode.rng import Rng
from diffode.runs.run import fit
from diffode.sampling.drawing import sample
from tests.judge import verdict


def test_judge_refuses_a_gaussian_fit():
    train = load("digits").train
    x = gaussian_fit(train, 2000, Rng(0))
    assert any("precision" in claim for claim in verdict(x))


def test_judge_refuses_a_copy_of_the_training_set():
    train = load("digits").train
    x = train[torch.arange(2000) % len(train)]
    assert any("nearest" in claim for claim in verdict(x))


def test_judge_refuses_a_missing_digit():
    digits = load("digits")
    x = digits.train[digits.train_labels != 3]
    assert any("shares" in claim for claim in verdict(x[torch.arange(2000) % len(x)]))


@pytest.mark.slow
def test_poisson_learns_digits():
    run = fit("poisson")
    drawn = sample(run.field, 2000, nfe=35, seed=1, batch=500)
    assert drawn.nfe == 35
    assert verdict(drawn.x) == []


def test_large_images_are_measured_without_their_covariance():
    x = Rng(1).normal("x", (40, 3, 32, 32))
    q = quality(x[:20], x[10:], x[20:])
    assert math.isnan(q.frechet) and q.precision > 0.5


def test_nearest_looks_at_every_reference_point():
    reference = Rng(2).normal("r", (5000, 2))
    distance, index = nearest(reference[-3:], reference)
    assert index.tolist() == [4997, 4998, 4999] and float(distance.max()) < 1e-6
