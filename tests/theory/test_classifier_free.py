"""Classifier-free guidance and autoguidance: what they are by definition, and what they cost."""

import math

import pytest
import torch

from diffode import build, sample
from diffode.data.scaling import Scaling
from diffode.doors import needs_labels
from diffode.fields import (
    VP,
    Empirical,
    Field,
    Karras,
    PoissonField,
    Rectified,
    classifier_free,
    rescheduled,
)
from diffode.fields.operators import mask
from diffode.fields.reschedule import clock
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.solvers.dps import DPS
from tests.wrappers import Counted

POINTS = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()
CLASSES = torch.arange(30) % 3
Y = torch.tensor([0, 2, 1, 0])
X = 2 * torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double()


def exact(schedule, noise=None, points=POINTS):
    return Empirical(points, schedule, noise or Normal(), labels=CLASSES)


NORMAL = exact(Karras(0.05, 20.0))
POISSON = PoissonField(exact(Karras(0.05, 20.0), StudentT(4.0)))
FIELDS = {"normal": NORMAL, "rectified": exact(Rectified()), "poisson": POISSON}


@pytest.mark.parametrize("kind", FIELDS)
def test_weights_1_and_0_are_the_fields_to_the_bit_and_at_their_cost(kind):
    inner = FIELDS[kind]
    for weight, labels in ((1.0, Y), (0.0, None)):
        plain = sample(inner, 4, steps=6, y=labels)
        guided = sample(classifier_free(inner, weight), 4, steps=6, y=Y)
        assert torch.equal(guided.x, plain.x)
        assert guided.network_calls == plain.network_calls == plain.nfe == guided.nfe


@pytest.mark.parametrize("kind", FIELDS)
def test_other_weights_call_the_network_twice(kind):
    for solver in ("default", "heun", "dopri5", "dopri5-rows", "ddim"):
        drawn = sample(classifier_free(FIELDS[kind], 2.0), 4, solver, steps=6, y=Y)
        assert drawn.network_calls == 2 * drawn.nfe


def test_the_guided_score_is_that_of_the_product_of_powers():
    inner, w = exact(VP()), 2.5
    guided = classifier_free(inner, w)
    for t in (0.02, 0.3, 1.0):
        x = X.clone().requires_grad_()
        log = (1 - w) * inner.log_marginal(x, t) + w * inner.log_marginal(x, t, Y)
        (expected,) = torch.autograd.grad(log.sum(), x)
        torch.testing.assert_close(guided.score(X, t, Y), expected, rtol=1e-9, atol=1e-9)


def test_an_interval_is_guided_inside_and_plain_outside_and_counted():
    guided = classifier_free(NORMAL, 3.0, (0.2, 2.0))
    everywhere = classifier_free(NORMAL, 3.0)
    for t, on in ((0.1, False), (0.2, True), (1.0, True), (2.0, True), (5.0, False)):
        expected = (everywhere if on else NORMAL).posterior(X, t, Y)
        for got, wanted in zip(guided.posterior(X, t, Y), expected, strict=True):
            assert torch.equal(got, wanted)
        assert guided.calls_at(torch.tensor(t)) == 1 + on
    drawn = sample(guided, 4, "heun", steps=10, y=Y)
    assert drawn.nfe < drawn.network_calls < 2 * drawn.nfe
    assert guided.calls_per_evaluation == 2


def test_rows_on_both_sides_of_an_edge_are_each_their_own():
    guided = classifier_free(NORMAL, 3.0, (0.2, 2.0))
    t = torch.tensor([0.1, 1.0, 0.5, 9.0])
    whole = guided.denoise(X, t, Y)
    for i in range(4):
        torch.testing.assert_close(
            guided.denoise(X[i : i + 1], t[i], Y[i : i + 1]), whole[i : i + 1]
        )
    zero = classifier_free(NORMAL, 0.0, (0.2, 2.0))
    assert (zero.calls_at(t), zero.calls_at(t[:1]), zero.calls_at(t[1:3])) == (2, 1, 1)


def test_guidance_up_to_infinity_is_on_where_no_signal_is_left():
    guided = classifier_free(exact(Rectified()), 2.0, (0.3, math.inf))
    assert guided.calls_at(torch.tensor(guided.span[0], dtype=torch.float64)) == 2


def test_a_weaker_field_takes_the_nulls_place():
    weak = exact(NORMAL.schedule, points=POINTS + 0.3)
    guided = classifier_free(NORMAL, 1.5, weak=weak)
    expected = weak.denoise(X, 1.0, Y) + 1.5 * (
        NORMAL.denoise(X, 1.0, Y) - weak.denoise(X, 1.0, Y)
    )
    torch.testing.assert_close(guided.denoise(X, 1.0, Y), expected)
    assert sample(guided, 4, steps=5).network_calls == 10  # and no label is needed


def test_each_row_of_a_poisson_flow_is_guided_at_its_own_level():
    start = POISSON.start(4, Rng(0))
    guided = classifier_free(POISSON, 3.0, (0.2, 2.0)).bind(start.field.q)
    own = 0.5 * start.field.q / math.sqrt(4.0)
    t = torch.tensor(0.5, dtype=torch.float64)
    expected = classifier_free(POISSON.inner, 3.0, (0.2, 2.0)).denoise(X, own, Y)
    torch.testing.assert_close(guided.denoise(X, t, Y), expected)


def test_calls_follow_to_another_clock():
    guided = classifier_free(NORMAL, 3.0, (0.2, 2.0))
    other = rescheduled(guided, "logsnr")
    assert [other.calls_at(torch.tensor(v).log()) for v in (0.1, 1.0)] == [1, 2]


@pytest.mark.parametrize("solver", ["heun", "dopri5-rows"])
def test_the_calls_of_guidance_around_guidance_are_those_that_are_made(solver):
    counted = Counted(NORMAL)
    weak = classifier_free(counted, 2.0, (0.2, 2.0))
    guided = classifier_free(classifier_free(counted, 3.0, (0.5, 5.0)), 2.0, (0.1, 1.0), weak)
    assert guided.calls_per_evaluation == 4
    drawn = sample(guided, 4, solver, steps=12, y=Y)
    assert drawn.network_calls == len(counted.made)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0])
def test_the_calls_in_an_interval_are_those_that_are_made_under_differentiation(weight):
    counted = Counted(NORMAL)
    guided = classifier_free(counted, weight, (0.2, 2.0))
    drawn = sample(
        guided, 4, DPS(mask(torch.tensor([True, True, False])), [0.0, 0.5]), steps=8, y=Y
    )
    last = guided.calls_at(drawn.times[-1])
    assert drawn.network_calls - last == 2 * (len(counted.made) - last)  # a product for each


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weight": math.nan}, "wanted a finite number"),
        ({"weight": -0.5}, r"got weight -0\.5; wanted a finite number, 0 or more"),
        ({"weight": 2, "interval": (30, 50)}, r"got interval \(30, 50\), where .* 0\.05 to 20"),
        ({"weight": 2, "interval": (0, 0.04)}, "wanted one that meets the noise levels"),
        ({"weight": 2, "weak": NORMAL}, "got the field itself as the weaker one"),
        ({"weight": "much"}, "wanted a finite number"),
        ({"weight": "2"}, "got weight '2'; wanted a finite number"),
        ({"weight": True}, "got weight True; wanted a finite number"),
        ({"weight": 2, "interval": (2.0, 1.0)}, "0 <= lo < hi"),
        ({"weight": 2, "interval": 3.0}, "0 <= lo < hi"),
        ({"weight": 2, "weak": exact(VP())}, "wanted those of the field"),
        ({"weight": 2, "weak": POISSON}, "wanted those of the field"),
    ],
)
def test_what_is_no_guidance_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        classifier_free(NORMAL, **arguments)


@pytest.mark.parametrize("noise", [None, StudentT(4.0)])
def test_an_interval_is_held_against_the_levels_of_the_rows(noise):
    """Rows of a hemisphere have levels of their own, beyond those of the plane, but none far."""
    field = exact(Karras(0.05, 20.0), noise)
    least, most = field.levels
    assert (least, most) == (0.05, 20.0) and exact(Rectified()).levels[1] == math.inf
    classifier_free(exact(Rectified()), 2.0, (1e6, 1e7))
    if noise is None:
        return
    start = PoissonField(field).start(500, Rng(0)).field
    levels = start.q * 20 / 2
    assert start.levels == (pytest.approx(float(levels.min()) / 400), float(levels.max()))
    for radius, beyond in (("plane", 1.1), ("auto", 1.4), ("fixed", 1.4), ("chi", 5.0)):
        around = PoissonField(field, radius=radius)
        classifier_free(around, 2.0, (most, 900.0))
        with pytest.raises(ValueError, match="wanted one that meets the noise levels"):
            classifier_free(around, 2.0, (beyond * most, 900.0))
    classifier_free(PoissonField(field), 2.0, (float(levels.max()), 900.0))


def test_no_label_plays_a_part_at_weight_0():
    """So none is needed; outside of an interval, or with a weaker field that knows it, one is."""
    weak = Empirical(POINTS + 0.3, NORMAL.schedule)
    for inner in FIELDS.values():
        guided = classifier_free(inner, 0.0)
        assert guided.unconditional and not needs_labels(guided) and guided.classes is None
        assert torch.equal(sample(guided, 4, steps=4).x, sample(inner, 4, steps=4).x)
        with pytest.raises(ValueError, match="got a field that knows no labels"):
            classifier_free(guided, 2.0)
    assert classifier_free(NORMAL, 0.0, weak=weak).unconditional
    for told in (
        classifier_free(NORMAL, 0.0, (0.2, 2.0)),
        classifier_free(NORMAL, 0.0, weak=exact(NORMAL.schedule)),
        classifier_free(NORMAL, 1.0),
    ):
        assert not told.unconditional


def test_what_is_no_field_is_told_where_its_field_is():
    objective = build("edm", (3,), 3, width=8)
    with pytest.raises(TypeError, match=r"got a Denoising, which is not a field itself; pass its"):
        classifier_free(objective, 2.0)
    with pytest.raises(TypeError, match=r"a Generated, which states no E\[x_0 \| x\], as needed"):
        classifier_free(build("gan", (3,), 3).field, 2.0)


def test_guidance_to_nothing_is_refused():
    with pytest.raises(ValueError, match="got no labels y"):
        sample(classifier_free(NORMAL, 2.0), 4, steps=5)


def test_a_weaker_field_that_knows_no_labels_is_told_none():
    weak = Empirical(POINTS + 0.3, NORMAL.schedule)
    guided = classifier_free(NORMAL, 1.5, weak=weak)
    expected = 1.5 * NORMAL.denoise(X, 1.0, Y) - 0.5 * weak.denoise(X, 1.0)
    torch.testing.assert_close(guided.denoise(X, 1.0, Y), expected)


@pytest.mark.parametrize("wrapped", [lambda f: f, lambda f: rescheduled(f, "logsnr")])
def test_a_field_that_knows_no_labels_is_not_guided_to_one(wrapped):
    with pytest.raises(ValueError, match="got a field that knows no labels"):
        classifier_free(wrapped(Empirical(POINTS, Karras())), 2.0)


def test_a_field_that_knows_no_labels_leads_away_from_one_that_does():
    field = Empirical(POINTS + 0.3, NORMAL.schedule)
    guided = classifier_free(field, 1.5, weak=NORMAL)
    expected = 1.5 * field.denoise(X, 1.0) - 0.5 * NORMAL.denoise(X, 1.0, Y)
    torch.testing.assert_close(guided.denoise(X, 1.0, Y), expected)
    assert sample(guided, 4, nfe=3, y=Y).x.isfinite().all()
    with pytest.raises(ValueError, match="label 9 has no points"):
        sample(guided, 4, nfe=3, y=9)


def test_a_weaker_field_of_other_units_or_labels_is_refused():
    weak, field = exact(NORMAL.schedule), exact(NORMAL.schedule)
    weak.scaling = Scaling.pixels()
    with pytest.raises(ValueError, match=r"in units pixels: 0 \.\.\. 255 .*; wanted .*None"):
        classifier_free(field, 2.0, weak=weak)
    weak.scaling, weak.classes, field.classes = None, 4, 3
    with pytest.raises(ValueError, match="a weaker field of 4 labels; wanted 3"):
        classifier_free(field, 2.0, weak=weak)


def test_a_weaker_field_about_another_mean_is_refused_on_a_centred_clock():
    """Its state leaves out that mean, so that it is another one."""
    weak = Empirical(POINTS + 0.3, NORMAL.schedule)
    for other in (rescheduled(weak, "theta"), rescheduled(weak, clock(NORMAL, "theta"))):
        with pytest.raises(ValueError, match="got a weaker field in units"):
            classifier_free(rescheduled(NORMAL, "theta"), 1.5, weak=other)
    same = classifier_free(rescheduled(NORMAL, "theta"), 1.5, weak=rescheduled(NORMAL, "theta"))
    torch.testing.assert_close(
        same.denoise(X, 1.0, Y), rescheduled(NORMAL, "theta").denoise(X, 1.0, Y)
    )


def test_a_weaker_field_of_other_data_is_told_from_one_of_other_units():
    weak, field = exact(NORMAL.schedule), exact(NORMAL.schedule)
    weak.scaling, field.scaling = (Scaling("standard", k * torch.ones(3), 1.0) for k in (1, 2))
    with pytest.raises(ValueError, match="guides has other numbers for them, as of other data"):
        classifier_free(field, 2.0, weak=weak)


def test_a_field_says_how_it_is_guided_wherever_that_stands():
    guided = classifier_free(POISSON, 2.0, (0.5, math.inf))
    assert "guidance 2 at rho 0.5 to inf" in repr(guided)
    assert "guidance 2 away from Empirical" in repr(
        classifier_free(NORMAL, 2.0, weak=exact(NORMAL.schedule))
    )
    assert "guidance 2 at rho 0.5" in repr(rescheduled(guided, "theta"))
    near = classifier_free(NORMAL, 2.0000001, (0.5, 3.0000001))  # another row of a table
    assert "guidance 2.0000001 at rho 0.5 to 3.0000001" in repr(near)


def test_a_field_of_ones_own_may_keep_count_under_any_plain_name():
    class Own(Field):
        prior, span, event_shape, calls = Normal(), (1.0, 0.0), (2,), 0

        def velocity(self, x, t, y=None):
            self.calls += 1
            return -x

    own = Own()
    assert sample(own, 3, "heun", nfe=4).network_calls == own.calls == 4
