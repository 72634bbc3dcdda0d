"""Observations belong to the rows, the units and the field that they were given for."""

import pytest
import torch

from diffode import decode, edit, encode, interpolate, sample
from diffode.data.scaling import Scaling
from diffode.fields import (
    Karras,
    Mixture,
    PoissonField,
    Wrapped,
    classifier_free,
    conditioned,
    rescheduled,
)
from diffode.fields.operators import mask
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.sampling import random_pairs, twisted
from diffode.solvers import get_solver
from diffode.warned import DiffodeWarning

MEANS = torch.tensor([[-1.0, 0.5], [1.0, -1.0]]).double()
FIRST = mask([True, False])


def mixture(noise=None):
    widths = torch.full((2,), 0.3).double()
    return Mixture(torch.ones(2) / 2, MEANS, widths, Karras(0.01, 20.0), noise, [0, 1])


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("rows", [3, 7])
def test_other_numbers_of_rows_than_of_observations_are_refused(rows, batch):
    """By all that samples: fewer rows would take the first observations, and say nothing."""
    field = conditioned(mixture(), FIRST, torch.zeros(4, 1), 0.1)
    x, how = torch.zeros(rows, 2), {"nfe": 4, "batch": batch}
    for ask in (
        lambda: sample(field, rows, **how),
        lambda: sample(rescheduled(field, "theta"), rows, **how),
        lambda: encode(field, x, "heun", **how),
        lambda: decode(field, x, "heun", **how),
        lambda: edit(field, x, 0.5, **how),
        lambda: interpolate(field, x, x, 2, **how),
        lambda: interpolate(field, *random_pairs(mixture(), rows), 2, **how),
        lambda: field.denoise(x, 1.0),
    ):
        with pytest.raises(
            ValueError, match=rf"got {rows} rows for .* for each of 4; take as many"
        ):
            ask()


def test_one_observation_of_the_operators_shape_is_for_all_rows():
    one = conditioned(mixture(), FIRST, torch.zeros(1, 1), 0.1)
    with pytest.raises(ValueError, match=r"got 3 rows for a field with an observation for each"):
        sample(one, 3, nfe=4)
    assert sample(one, 1, nfe=4).x.shape == (1, 2)
    assert sample(conditioned(mixture(), FIRST, [0.0], 0.1), 3, nfe=4).x.shape == (3, 2)


@pytest.mark.parametrize("noise", [None, StudentT(4.0)])
@pytest.mark.parametrize("inner", [True, False])
def test_units_that_change_after_the_observation_are_refused(noise, inner):
    """The observation was of other units: its draws would be near another number."""
    plain = mixture() if noise is None else PoissonField(mixture(noise))
    field = conditioned(plain, FIRST, [5.0], 0.1)
    (plain if inner else field).scaling = Scaling("standard", torch.ones(2), 2 * torch.ones(2))
    with pytest.raises(ValueError, match=r"set field\.scaling first"):
        sample(field, 3, nfe=4)
    again = conditioned(plain, FIRST, [3.0], 0.1)
    torch.testing.assert_close(sample(again, 3).x[:, 0], torch.full((3,), 3.0), atol=0.5, rtol=0)


def test_what_is_no_operator_is_refused_in_words():
    with pytest.raises(TypeError, match=r"an operator of type function; wanted a LinearOperator"):
        conditioned(mixture(), lambda x: x[:, :1], [1.0], 0.1)


def test_a_conditioned_field_says_so_whatever_is_around_it():
    field = conditioned(PoissonField(mixture(StudentT(4.0))), FIRST, [0.5], 0.1)
    assert "given mask (2 -> 1) + 0.1 e by pigdm" in repr(field)
    twice = conditioned(conditioned(mixture(), FIRST, [0.5], 0.1), FIRST, [0.4], 0.2)
    assert [change.split(" + ")[1] for change in twice.changes()] == [
        "0.1 e by pigdm",
        "0.2 e by pigdm",
    ]


def test_a_row_is_edited_by_its_own_observation_whatever_the_batch():
    x, seen = MEANS.repeat(2, 1).float(), torch.tensor([[0.5], [-0.5], [1.0], [2.0]])
    field = conditioned(mixture(), FIRST, seen, 0.1)
    for deterministic in (True, False):
        whole, parts = (
            edit(field, x, 0.5, nfe=10, deterministic=deterministic, batch=batch).x
            for batch in (None, 3)
        )
        torch.testing.assert_close(parts, whole)


def test_both_ends_of_a_way_have_the_observation_of_their_pair():
    seen = torch.tensor([[-1.0], [1.0]])
    field = conditioned(mixture(), FIRST, seen, 0.3)
    a, b = torch.tensor([[-1.2, 0.4], [0.9, -1.1]]), torch.tensor([[-0.8, 0.7], [1.2, -0.8]])
    for count in (2, 3):
        way = interpolate(field, a, b, count).x.unflatten(0, (2, count))
        torch.testing.assert_close(way[:, 0], a, atol=1e-3, rtol=0)
        torch.testing.assert_close(way[:, -1], b, atol=1e-3, rtol=0)
        one = conditioned(mixture(), FIRST, seen[1], 0.3)
        torch.testing.assert_close(way[1:].flatten(0, 1), interpolate(one, a[1:], b[1:], count).x)
    latents = random_pairs(conditioned(mixture(), FIRST, [0.0], 0.3), 2)
    drawn = interpolate(field, *latents, 3, nfe=20).x.unflatten(0, (2, 3))
    torch.testing.assert_close(drawn[..., 0], seen.expand(2, 3), atol=0.9, rtol=0)


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: classifier_free(f, 2.0)])
@pytest.mark.parametrize("method", ["pigdm", "tmpd"])
@pytest.mark.parametrize("solver", ["dopri5-rows", "tsit5-rows"])
def test_rows_that_arrive_one_by_one_keep_their_own_observations(solver, method, wrap):
    seen = torch.tensor([[-1.0], [0.2], [1.0], [3.0]])
    field = wrap(conditioned(mixture(), FIRST, seen, 0.1, method))
    x = field.start(4, Rng(0)).x
    y, ends = torch.tensor([0, 1, 0, 1]), torch.tensor(field.span, dtype=torch.float64)
    together = get_solver(solver)(field, x, ends, y).x
    for k in range(4):
        alone = wrap(conditioned(mixture(), FIRST, seen[k], 0.1, method))
        one = get_solver(solver)(alone, x[k : k + 1], ends, y[k : k + 1]).x
        torch.testing.assert_close(together[k : k + 1], one, atol=1e-3, rtol=1e-3)
    assert len(sample(field, 4, solver, y=y, batch=3).x) == 4


class Same(Wrapped):
    """A wrapper that changes nothing."""

    def posterior(self, x, t, y=None):
        return self.inner.posterior(x, t, y)


@pytest.mark.parametrize(
    "guided",
    [
        lambda: classifier_free(mixture(), 4.0),
        lambda: Same(classifier_free(mixture(), 4.0)),
        lambda: classifier_free(PoissonField(mixture(StudentT(4.0))), 4.0),
    ],
)
def test_guidance_above_1_inside_of_an_observation_is_warned_of(guided):
    right = r"got guidance of weight 4 inside .*: classifier_free\(conditioned\(field, ...\), 4\)"
    with pytest.warns(DiffodeWarning, match=right):
        conditioned(guided(), FIRST, [0.5], 0.1)


def test_guidance_that_is_sound_is_not_warned_of():
    """Where warnings are errors, as in all tests here."""
    for inside, outside in ((1.0, None), (0.5, None), (None, 4.0)):
        field = mixture() if inside is None else classifier_free(mixture(), inside)
        field = conditioned(field, FIRST, [0.5], 0.1)
        sample(field if outside is None else classifier_free(field, outside), 2, nfe=4, y=0)
    twisted(classifier_free(mixture(), 4.0), FIRST, [0.5], 0.1, 1, 4, nfe=4, y=0)
