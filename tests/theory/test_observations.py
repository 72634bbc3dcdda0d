"""Observations belong to the rows, the units and the field that they were given for."""

import pytest
import torch

from diffode import sample
from diffode.data.scaling import Scaling
from diffode.fields import Karras, Mixture, PoissonField, conditioned
from diffode.fields.operators import mask
from diffode.priors import StudentT

MEANS = torch.tensor([[-1.0, 0.5], [1.0, -1.0]]).double()
FIRST = mask([True, False])


def mixture(noise=None):
    widths = torch.full((2,), 0.3).double()
    return Mixture(torch.ones(2) / 2, MEANS, widths, Karras(0.01, 20.0), noise)


@pytest.mark.parametrize("batch", [None, 2])
def test_more_rows_than_observations_are_refused(batch):
    field = conditioned(mixture(), FIRST, torch.zeros(4, 1), 0.1)
    with pytest.raises(ValueError, match=r"rows for a field with 4 observations; wanted one"):
        sample(field, 7, nfe=4, batch=batch)
    one = conditioned(mixture(), FIRST, torch.zeros(1, 1), 0.1)
    with pytest.raises(ValueError, match=r"rows for a field with 1 observations"):
        sample(one, 3, nfe=4)
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
