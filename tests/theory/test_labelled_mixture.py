"""A mixture with labels: given its class, x has the law of that class's components alone."""

import pytest
import torch

from diffode.fields import VP, Empirical, Karras, Mixture, PoissonField, Rectified
from diffode.fields.guidance import classifier_free
from diffode.priors import Normal, StudentT
from diffode.rng import Rng

NOISES = [Normal(), StudentT(1.0), StudentT(5.0)]
LABELS = torch.tensor([3, 0, 3, 1, 0, 7])  # 7 has no weight
Y = torch.tensor([0, 3, 1, 3, 0])
RNG = Rng(0)
W = torch.tensor([0.2, 0.1, 0.3, 0.25, 0.15, 0.0], dtype=torch.float64)
MEANS = 2 * RNG.normal("means", (6, 2), torch.float64)
ROOTS = RNG.normal("roots", (6, 2, 2), torch.float64)
STDS = {
    "isotropic": 0.2 + RNG.uniform("one", (6,)),
    "diagonal": 0.2 + RNG.uniform("two", (6, 2)),
    "full": ROOTS @ ROOTS.mT,
    "points": torch.zeros(6).double(),
}
X = 2 * RNG.normal("x", (5, 2), torch.float64)


def whole(kind="full", noise=None, schedule=None):
    return Mixture(W, MEANS, STDS[kind], schedule or VP(), noise, LABELS)


def alone(label, kind="full", noise=None):
    own = label == LABELS
    return Mixture(W[own], MEANS[own], STDS[kind][own], VP(), noise)


@pytest.mark.parametrize("t", [0.01, 0.4, 1.0])
@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("kind", STDS)
def test_a_class_is_the_mixture_of_its_components(kind, noise, t):
    field = whole(kind, noise)
    log, (x0, n) = field.log_marginal(X, t, Y), field.posterior(X, t, Y)
    for i, label in enumerate(Y.tolist()):
        one, x = alone(label, kind, noise), X[i : i + 1]
        for got, wanted in zip(
            (log[i], x0[i], n[i]),
            (one.log_marginal(x, t)[0], *(v[0] for v in one.posterior(x, t))),
            strict=True,
        ):
            torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(field.denoise(x, t, label), x0[i : i + 1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_the_classes_densities_with_their_weights_make_the_whole(noise):
    field = whole(noise=noise)
    shares = torch.stack([W[label == LABELS].sum() for label in (0, 1, 3)])
    parts = torch.stack([field.log_marginal(X, 0.4, label) for label in (0, 1, 3)])
    total = torch.logsumexp(parts + shares.log()[:, None], 0)
    torch.testing.assert_close(total, field.log_marginal(X, 0.4), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_points_of_no_width_are_an_empirical_law_with_labels(noise):
    data = Empirical(MEANS, VP(), noise, W, LABELS)
    points = whole("points", noise)
    torch.testing.assert_close(points.denoise(X, 0.4, Y), data.denoise(X, 0.4, Y))
    torch.testing.assert_close(points.log_marginal(X, 0.4, Y), data.log_marginal(X, 0.4, Y))


def test_draws_given_labels_are_of_their_classes_and_keep_their_rows():
    y = torch.tensor([0, 3, 1]).repeat(4000)
    for field in (whole("isotropic"), Empirical(MEANS, VP(), None, W, LABELS)):
        x = field.sample(len(y), Rng(1), y)
        assert torch.equal(field.sample(7, Rng(1), y[:7]), x[:7])
        for label in (0, 1, 3):
            own = label == LABELS
            mean = W[own] @ MEANS[own] / W[own].sum()
            torch.testing.assert_close(x[y == label].mean(0), mean, rtol=0, atol=0.15)
    means = MEANS[[1, 4]]
    points = Empirical(MEANS, VP(), None, W, LABELS).sample(50, Rng(2), 0)
    assert all(bool((means == p).all(1).any()) for p in points)


@pytest.mark.parametrize("kind", STDS)
def test_without_labels_nothing_changes(kind):
    for noise in NOISES:
        plain = Mixture(W, MEANS, STDS[kind], VP(), noise)
        field = whole(kind, noise)
        assert torch.equal(field.denoise(X, 0.4), plain.denoise(X, 0.4))
        assert torch.equal(field.sample(9, Rng(3)), plain.sample(9, Rng(3)))


def test_the_velocity_of_a_class_has_its_derivatives_under_functional_transforms():
    for noise in NOISES:
        field = whole(noise=noise)

        def one(x, y, field=field):
            return field.denoise(x[None], 0.4, y[None])[0]

        jacobians = torch.func.vmap(torch.func.jacrev(one))(X, Y)
        for i, label in enumerate(Y.tolist()):
            wanted = torch.func.jacrev(lambda x: alone(label, noise=noise).denoise(x[None], 0.4))  # noqa: B023
            torch.testing.assert_close(jacobians[i], wanted(X[i])[0])


@pytest.mark.parametrize("label", [7, 2, -1])
def test_a_class_without_components_of_weight_is_refused(label):
    field = whole()
    for call in (
        lambda y: field.denoise(X, 0.4, y),
        lambda y: field.log_marginal(X, 0.4, y),
        lambda y: field.sample(5, Rng(0), y),
    ):
        with pytest.raises(ValueError, match=f"label {label} has no components .*are 0, 1, 3"):
            call(torch.tensor([0, 0, label, 1, 3]))


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="6 components and 2 labels"):
        Mixture(W, MEANS, STDS["full"], VP(), labels=[0, 1])
    with pytest.raises(ValueError, match="built without labels"):
        Mixture(W, MEANS, STDS["full"], VP()).sample(5, Rng(0), 1)
    with pytest.raises(ValueError, match="5 points and 2 labels"):
        whole().denoise(X, 0.4, torch.tensor([0, 1]))


def test_a_labelled_mixture_is_guided():
    """The weights of two fields add: at w = 2 it is twice the class's mean less the whole's."""
    for field in (
        whole(schedule=Rectified()),
        PoissonField(whole(noise=StudentT(5.0), schedule=Karras())),
    ):
        guided = classifier_free(field, 2.0)
        wanted = 2 * field.denoise(X, 0.4, Y) - field.denoise(X, 0.4)
        torch.testing.assert_close(guided.denoise(X, 0.4, Y), wanted)
