"""A trained classifier tells what the exact one tells, for normal and for Student-t noise."""

import pytest
import torch

import diffode
from diffode.fields import Empirical, ExactClassifier, Karras, PoissonField, classifier_guided
from diffode.fields.answers import answer
from diffode.fields.classified import classifier_of
from diffode.nn.classifier import classifier_network
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.training import data_stats
from diffode.training.trainer import train
from tests.clouds import cloud, noisy

LAWS = {"normal": Normal(), "student": StudentT(1.0)}
X, Y = cloud(2, each=40)
LEVELS = (0.3, 1.0, 3.0)


@pytest.fixture(scope="module", params=LAWS)
def learned(request):
    """The law of noise, and the classifier of a short training."""
    made = diffode.build(
        "classifier", (2,), 3, data_stats(X), noise=request.param, width=48, depth=2
    )
    for _ in train(made, (X.float(), Y), steps=400, batch=512, device="cpu"):
        pass
    return LAWS[request.param], classifier_of(made.field).eval()


def exact(noise):
    return Empirical(X, Karras(0.02, 40.0), noise, labels=Y)


@torch.no_grad()
def test_it_tells_the_classes_under_the_kernel_of_the_potential(learned):
    """And not under that of the density, from which that differs for Student-t noise."""
    noise, classifier = learned
    law = exact(noise)
    for level in LEVELS:
        x, _ = noisy(law, level, 200)
        rho = torch.full((200,), level, dtype=torch.float64)
        got, log_squares = answer(classifier, x, rho, noise)
        wanted, squares = answer(ExactClassifier(law), x, rho, noise)
        gap = float((got.exp() - wanted.exp()).abs().mean())
        assert gap < 0.06
        if noise is LAWS["student"]:
            density = (wanted - squares).log_softmax(1).exp()
            assert float((got.exp() - density).abs().mean()) > 2 * gap
            own = wanted.exp() > 0.1  # others are hardly ever seen
            assert float((log_squares - squares)[own].abs().mean()) < 0.5


@torch.no_grad()
def test_what_it_misses_does_not_grow_with_the_noise(learned):
    """A short training leaves an error below what labels change, far out too."""
    noise, classifier = learned
    law = exact(noise)
    guided = classifier_guided(law, classifier)
    for level in (1.0, 3.0, 20.0):
        x, y = noisy(law, level, 200)
        off = (guided.denoise(x, level, y) - law.denoise(x, level, y)).norm(dim=1)
        changed = (law.denoise(x, level) - law.denoise(x, level, y)).norm(dim=1)
        assert float(off.median()) < 0.8 * float(changed.median())


def test_the_run_s_own_field_is_a_gaussian_that_is_led_to_the_classes(learned):
    noise, _ = learned
    made = diffode.build("classifier", (2,), 3, data_stats(X), noise="student", width=8, depth=1)
    gaussian = made.field.inner.inner
    assert isinstance(made.field, PoissonField)
    torch.testing.assert_close(gaussian.mean.double(), X.mean(0), rtol=1e-5, atol=1e-5)
    covariance = gaussian.sample(20_000, Rng(0)).T.cov()
    torch.testing.assert_close(covariance, X.T.cov().to(covariance), rtol=0.05, atol=0.05)
    with pytest.raises(TypeError, match="no classifier guides this field"):
        classifier_of(exact(noise))


def test_accuracies_are_told_by_noise_level():
    made = diffode.build("classifier", (2,), 3, data_stats(X), width=8, depth=1)
    states = list(train(made, (X.float(), Y), steps=2, batch=120, device="cpu"))
    logs = states[-1].logs
    assert set(logs) == {
        "accuracy",
        "accuracy below 0.5 std",
        "accuracy 0.5 to 2 std",
        "accuracy above 2 std",
    }
    assert all(0 <= v <= 1 for v in logs.values())


@pytest.mark.parametrize("kind", ["mlp", "unet"])
def test_networks_treat_rows_apart_and_start_at_equal_classes(kind):
    network = classifier_network((1, 9, 10), kind, conditions=2, outputs=4, width=8)
    x, cond = torch.randn(3, 1, 9, 10), torch.randn(3, 2)
    assert torch.equal(network(x, cond), torch.zeros(3, 4))
    torch.nn.init.normal_(network.outer.weight)
    torch.testing.assert_close(network(x, cond)[1:2], network(x[1:2], cond[1:2]))
    (slope,) = torch.autograd.grad(network(x.requires_grad_(), cond).sum(), x)
    assert slope.isfinite().all() and slope.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": None}, "a classifier learns labels, and there are none"),
        ({"network": "dit"}, "network='dit', which makes no classifier; those are mlp, unet"),
        ({"network": "mlp", "patch": 2}, "takes no patch"),
        ({"noise": "cauchy"}, "noise"),
    ],
)
def test_what_makes_no_classifier_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        diffode.build("classifier", (2,), **{"classes": 3, **options})


def test_too_few_dimensions_for_a_potential_are_refused():
    with pytest.raises(ValueError, match="known where N \\+ D is above 2"):
        diffode.build("classifier", (1,), 3, noise="student")
