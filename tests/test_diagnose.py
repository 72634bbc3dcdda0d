"""The diagnosis of a field: planted mistakes are named, and sound fields raise no alarm."""

import pytest
import torch

from diffode.fields import (
    VP,
    Empirical,
    Field,
    Karras,
    Rectified,
)
from diffode.priors import Normal, StudentT
from diffode.testing import check_field, diagnose
from tests.broken import BROKEN, Flow, exact, points
from tests.contract.test_registry import Decay
from tests.quick import quick


def finding(report, check):
    (found,) = (f for f in report.findings if f.check == check)
    return found


# ------------------------------------------------------------------------------- planted mistakes


EIGHT = [
    "sign",
    "1 - t",
    "missing 1/sigma",
    "B = N",
    "float16",
    "score returns eps",
    "swapped levels",
    "off by one",
]


@pytest.mark.parametrize(
    "case", quick(BROKEN, *(k for k, case in enumerate(BROKEN) if case in EIGHT))
)
def test_a_planted_mistake_is_named(case):
    name, make = BROKEN[case]
    report = diagnose(make(), points())
    assert not report.ok and report.mistakes[0] == name
    first = report.failures()[0]
    assert first.evidence and first.advice and "\n" not in first.line


def test_check_field_raises_the_named_mistake_with_its_evidence():
    with pytest.raises(AssertionError) as caught:
        check_field(BROKEN["sign"][1](), points())
    first = str(caught.value).splitlines()[0]
    assert first.startswith("the velocity points the other way: correlation -1 with the exact")
    assert first.endswith("turn its sign")


@pytest.mark.parametrize("case", ["B = N", "only ()", "only (B,)", "float16", "late grid"])
def test_these_are_named_without_data(case):
    name, make = BROKEN[case]
    field = make()
    with pytest.raises(AssertionError) as caught:
        check_field(field)
    assert diagnose(field).mistakes == (name,)
    assert str(caught.value).splitlines()[0] == diagnose(field).failures()[0].line


def test_on_a_student_t_path_too():
    noise, data = StudentT(1.0), points()
    inner = Empirical(data, Karras(), noise)

    class Charges(Field):
        schedule, span, prior, event_shape = Karras(), Karras().span, inner.prior, (2,)

        def velocity(self, x, t, y=None):
            return x - inner.denoise(x, t)

    report = diagnose(Charges(), data, noise=noise)
    assert report.mistakes[0] == "missing 1/sigma"


def test_the_schedule_can_be_stated_beside_the_field():
    class Bare(Decay):
        event_shape, span, prior = (2,), (1.0, 1e-3), Normal()

        def velocity(self, x, t, y=None):
            return -exact(Rectified()).velocity(x, t)

    assert diagnose(Bare(), points(), schedule=Rectified()).mistakes[0] == "sign"


@pytest.mark.parametrize(
    ("rule", "name"),
    quick(
        [
            (lambda x, t: exact(Rectified()).velocity(x, t), None),
            (lambda x, t: -exact(Rectified()).velocity(x, t), "sign"),
            (lambda x, t: exact(Rectified()).velocity(x, 1.001 - t), "reversed time"),
            (lambda x, t: -exact(Rectified()).velocity(x, 1.001 - t), "other clock"),
        ],
        0,
        1,
    ),
)
def test_without_a_schedule_the_flow_tells_the_direction(rule, name):
    class Bare(Field):
        span, prior, event_shape = (1.0, 1e-3), Normal(), (2,)

        def velocity(self, x, t, y=None):
            return rule(x, torch.as_tensor(t, dtype=torch.float64))

    found = finding(diagnose(Bare(), points()), "flow")
    assert (found.ok, found.mistake) == (name is None, name or "")


def test_swapped_levels_in_schedule_and_means_are_seen_at_the_ends():
    """Consistent in itself, so nothing but the ends can tell; both readings are stated."""

    class Reversed(Rectified):
        def alpha(self, t):
            return t

        def sigma(self, t):
            return 1 - t

        def rates(self, t):
            one = torch.ones_like(t)
            return t, 1 - t, one, -one

        def time(self, rho):
            return 1 / (1 + rho)

        span = (0.999, 1e-3)

    found = finding(diagnose(exact(Reversed()), points()), "direction")
    assert found.ok is False and "alpha and sigma are swapped" in found.message
    assert {found.mistake, *found.others} == {"reversed time", "swapped alpha and sigma"}


# ------------------------------------------------------------------------ the table, and bad input


def test_the_lipschitz_table_is_that_of_a_linear_flow():
    """One point of data: the velocity (x - y) / t has the Jacobian I / t."""
    report = diagnose(Empirical(torch.ones(2, 3), Karras()))
    for row in report.steepness:
        assert row.lipschitz == pytest.approx(1 / row.t)
        assert row.divergence == pytest.approx(3 / row.t)
        assert row.rho == pytest.approx(row.t)
    assert report.table().splitlines()[0].split() == ["t", "rho", "Lipschitz", "divergence"]


def test_power_iteration_finds_the_largest_singular_value():
    matrix = torch.randn(30, 30, generator=torch.Generator().manual_seed(3)).double()
    matrix[0] *= 8

    class Linear(Decay):
        event_shape = (30,)

        def velocity(self, x, t, y=None):
            return x @ matrix.to(x).T

    largest = float(torch.linalg.matrix_norm(matrix, 2))
    for row in diagnose(Linear()).steepness:
        assert row.lipschitz == pytest.approx(largest, rel=1e-3)


class Rooted(Decay):
    def velocity(self, x, t, y=None):
        return (x - x.detach()).abs().sqrt() - x


class Raises(Decay):
    def velocity(self, x, t, y=None):
        raise KeyError("weights")


def test_an_infinite_divergence_is_found():
    assert diagnose(Rooted()).mistakes == ("infinite divergence",)


def test_errors_of_the_field_are_findings():
    found = diagnose(Raises(), torch.randn(20, 3)).failures()
    assert found and all(f.line == "it raises KeyError: 'weights'" for f in found)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (torch.zeros(10, 5), ValueError, r"got data of shape \(10, 5\); .* points \(M, 3\)"),
        (torch.zeros(1, 3), ValueError, r"got data of shape \(1, 3\)"),
        (torch.zeros(10, 3, dtype=torch.long), TypeError, "scale it to floating-point"),
        ("nothing", ValueError, "no data set named 'nothing'"),
    ],
)
def test_data_that_do_not_fit_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        diagnose(Decay(), data)


def test_progress_counts_the_checks():
    seen = []
    report = diagnose(
        Flow(VP(), lambda f, x, t: f.velocity(x, t)), points(), progress=lambda *a: seen.append(a)
    )
    total = len(report.findings)
    assert seen == [(k, total) for k in range(total + 1)]


# ---------------------------------------------------------------- fields that are wrong elsewise


class Own(Field):
    """An exact field with a posterior of its own, and faults that no candidate repeats."""

    event_shape = (2,)

    def __init__(self, schedule, ripple=0.0, forget_alpha=False):
        super().__init__()
        self.schedule, self.span, self.prior = schedule, schedule.span, exact(schedule).prior
        self.ripple, self.forget_alpha = ripple, forget_alpha

    def velocity(self, x, t, y=None):
        t = torch.as_tensor(t, dtype=torch.float64).expand(len(x))
        alpha, sigma, d_alpha, d_sigma = (r[:, None].to(x) for r in self.schedule.rates(t))
        known = points().to(x)
        square = (x[:, None] - alpha[:, None] * known).square().sum(2)
        x0 = torch.softmax(-square / (2 * sigma**2), 1) @ known
        n = (x - (1.0 if self.forget_alpha else alpha) * x0) / sigma
        return (d_alpha * x0 + d_sigma * n) * (1 + self.ripple * torch.sin(5 * x))


def test_a_field_with_a_posterior_of_its_own_is_sound():
    assert finding(diagnose(Own(Karras()), points()), "velocity").ok


def test_a_wrong_exact_field_is_not_taken_for_a_trained_one():
    found = finding(diagnose(Own(Karras(), ripple=0.25), points()), "velocity")
    assert found.ok is None and "another law" in found.message
    found = finding(diagnose(Own(Rectified(), ripple=0.25), points()), "velocity")
    assert found.ok is not True


def test_a_missing_alpha_is_named():
    assert diagnose(Own(VP(), forget_alpha=True), points()).mistakes[0] == "missing alpha"


class Float32(Field):
    prior, span, event_shape, schedule = Normal(), (1.0, 1e-3), (2,), Rectified()

    def __init__(self, cast):
        super().__init__()
        self.layer, self.cast = torch.nn.Linear(3, 2), cast

    def velocity(self, x, t, y=None):
        t = torch.as_tensor(t, dtype=torch.float64).expand(len(x))[:, None]
        return self.layer(torch.cat((x, t.to(x) if self.cast else t), 1))


@pytest.mark.parametrize(
    ("cast", "said"), [(True, "does not take float64 points"), (False, "float64 time beside")]
)
def test_a_network_of_one_type_is_told_once(cast, said):
    report = diagnose(Float32(cast), points())
    (first,) = report.failures()
    assert first.mistake == "dtype" and said in first.message
    assert finding(report, "ends").message == "not judged while shapes is wrong"


@pytest.mark.parametrize("data", [torch.full((10, 2), torch.nan), torch.ones(10, 2)])
def test_data_that_cannot_be_compared_are_refused(data):
    with pytest.raises(ValueError, match="not finite, or all the same"):
        diagnose(exact(Karras()), data)
