"""What a classifier cannot guide, or cannot guide to, is refused in a line."""

import math

import pytest
import torch

from diffode import build, sample
from diffode.data.scaling import Scaling
from diffode.fields import (
    VP,
    Empirical,
    ExactClassifier,
    Mixture,
    Rectified,
    Wrapped,
    classifier_guided,
    classifier_of,
    rescheduled,
)
from diffode.fields.noise_classifier import NoiseClassifier
from diffode.priors import Spherical, StudentT
from tests.clouds import exact, noisy


class Around(Wrapped):
    """A wrapper that changes nothing."""


def in_pixels():
    field = exact()
    field.scaling = Scaling.pixels()
    return field


class Third(Spherical):
    """A law of which no potential is known."""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: classifier_guided(f, ExactClassifier(f), math.nan), "wanted a finite number"),
        (lambda f: classifier_guided(f, ExactClassifier(f), 1, (2, 1)), "0 <= lo < hi"),
        (lambda f: classifier_guided(f, ExactClassifier(f), -1), "wanted a finite number, 0 or"),
        (
            lambda f: classifier_guided(f, ExactClassifier(f), 1, (200, 300)),
            r"got interval \(200, 300\), where nothing is guided; .* 0\.05 to 100",
        ),
        (  # sigma / alpha goes to infinity here, and a classifier to 999 alone
            lambda f: classifier_guided(exact(Rectified()), ExactClassifier(f), 1, (1000, 2000)),
            r"of this field, 0\.001\d* to 999",
        ),
        (
            lambda f: classifier_guided(f, ExactClassifier(exact(noise=StudentT(3.0)))),
            r"classifier of events \(3,\) under StudentT\(dof=3\) noise; wanted .* Normal\(\)",
        ),
        (
            lambda f: classifier_guided(
                exact(noise=StudentT(4.0)), ExactClassifier(exact(noise=StudentT(3.0)))
            ),
            r"under StudentT\(dof=3\) noise; wanted .* StudentT\(dof=4\)",
        ),
        (
            lambda f: classifier_guided(f, ExactClassifier(exact(dim=2))),
            r"classifier of events \(2,\)",
        ),
        (
            lambda f: classifier_guided(exact(noise=StudentT(1.0), dim=1), ExactClassifier(f)),
            "known where N \\+ D is above 2",
        ),
        (lambda f: ExactClassifier(exact(labels=False)), "built without labels"),
        (
            lambda f: ExactClassifier(Empirical(torch.eye(2), VP(), labels=torch.tensor([0, 2]))),
            "label 1 has no points of any weight",
        ),
        (
            lambda f: sample(classifier_guided(f, ExactClassifier(f)), 4, steps=3),
            "got no labels y for a field that a classifier guides",
        ),
        (
            lambda f: sample(classifier_guided(f, ExactClassifier(f)), 4, steps=3, y=3),
            "got labels from 3 to 3; use 0 to 2",
        ),
        (
            lambda f: classifier_guided(rescheduled(f, "theta"), ExactClassifier(f)),
            "on the clock 'theta', .*; guide the field, then reschedule it",
        ),
        (
            lambda f: classifier_guided(Around(rescheduled(f, "theta")), ExactClassifier(f)),
            "on the clock 'theta'",
        ),
        (
            lambda f: classifier_guided(
                classifier_guided(f, ExactClassifier(f)), ExactClassifier(f)
            ),
            "got a field that draws nothing without a label, .* guided already",
        ),
        (
            lambda f: classifier_guided(in_pixels(), ExactClassifier(f)),
            "got a classifier in units None; wanted those of the field that it guides: pixels",
        ),
        (
            lambda f: classifier_guided(
                f, classifier_of(classifier_guided(in_pixels(), Lone(), 1.0))
            ),
            "got a classifier in units pixels: .*; wanted .*: None",
        ),
    ],
)
def test_what_is_no_guidance_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make(exact())


MEANS = torch.eye(2).double()
LAW = Mixture(torch.ones(2), MEANS, torch.ones(2), VP(), StudentT(3.0), labels=torch.arange(2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda o: classifier_guided(exact(), o.field), "got a PoissonField as the classifier"),
        (lambda o: classifier_guided(exact(), o), r"wanted .* classifier_of\(run.field\) is"),
        (lambda o: classifier_guided(exact(), "by"), "got a str as the classifier; wanted a"),
        (lambda o: classifier_guided(o, ExactClassifier(exact())), "pass its .field"),
        (lambda o: classifier_of(o), "pass its .field"),
        (lambda o: classifier_of(exact()), "no classifier guides this field; train one"),
        (lambda o: ExactClassifier(o.field), "got a PoissonField; wanted an exact field"),
        (lambda o: ExactClassifier(LAW), "the potential of a Mixture under StudentT"),
    ],
)
def test_what_is_no_classifier_is_refused_before_anything_is_drawn(make, words):
    run = build("classifier", (3,), 3, width=8, noise="student")
    assert isinstance(classifier_of(run.field), NoiseClassifier)
    with pytest.raises(TypeError, match=words):
        make(run)


def test_other_noise_is_refused_by_name():
    field = exact(noise=Third())
    for make in (
        lambda: classifier_guided(field, ExactClassifier(exact())),
        lambda: ExactClassifier(field),
    ):
        with pytest.raises(TypeError, match=r"the noise is Third\(\)"):
            make()


class Lone(torch.nn.Module):
    """A classifier that says nothing of itself, and gives logits alone."""

    def forward(self, u, rho):
        return u[:, :2] / rho[:, None]


def test_a_classifier_of_ones_own_gives_what_the_noise_needs():
    x, y = noisy(exact(), 1.0)
    assert classifier_guided(exact(), Lone()).denoise(x, 1.0, y % 2).isfinite().all()
    with pytest.raises(TypeError, match=r"gave a Tensor; wanted the pair \(logits, log kappa\)"):
        classifier_guided(exact(noise=StudentT(4.0)), Lone())
