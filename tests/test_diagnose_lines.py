"""The diagnosis of a field: flows that end away from the data, and lines that do not apply."""

import torch

from diffode.fields import Empirical, Field, Karras
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.testing import diagnose
from tests.broken import points
from tests.contract.test_registry import Decay


def finding(report, check):
    (found,) = (f for f in report.findings if f.check == check)
    return found


def test_a_field_that_ends_away_from_the_data_is_wrong():
    report = diagnose(Decay(), Decay.prior.sample((100, 3), Rng(0)) + 5)
    found = finding(report, "flow")
    assert found.ok is False and "ends away from the data" in found.message and found.advice
    assert report.failures() == [found]


def test_a_network_that_ends_far_from_the_data_is_wrong_and_near_them_may_be_untrained():
    class Net(Field):
        span, event_shape, prior = (0.0, 1.0), (2,), Normal(scale=0.3)

        def __init__(self, end):
            super().__init__()
            self.end = torch.nn.Parameter(torch.tensor(end))

        def velocity(self, x, t, y=None):
            return self.end.to(x).expand_as(x) + 0 * x

    assert finding(diagnose(Net([9.0, 0.0]), points()), "flow").ok is False
    assert finding(diagnose(Net([0.1, 0.0]), points()), "flow").ok is None


def test_lines_that_do_not_apply_say_so():
    report = diagnose(Decay(), torch.randn(100, 3))
    void = [f.check for f in report.findings if not f.applies]
    assert void == ["posterior", "direction", "prior", "velocity", "score"]
    assert str(finding(report, "score")).startswith("-     score ")
    rows = report.table().splitlines()[1:]
    assert all(row.split()[1] == "-" and "nan" not in row for row in rows)
    inner = diagnose(Empirical(points(), Karras(), StudentT(1.0)), points())
    assert not finding(inner, "score").applies and "StudentT" in finding(inner, "score").message
