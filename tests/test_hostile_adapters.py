"""Functions of others that answer with something else, and values that are none."""

import math

import pytest
import torch

from diffode import sample
from diffode.fields import VP, Empirical
from diffode.interop import as_k_diffusion, from_denoiser, from_velocity, scheduler_path

MAKERS = [(from_velocity, "flow_matching"), (from_denoiser, "edm")]


def same(x, t):
    return x


@pytest.mark.parametrize(("make", "convention"), MAKERS)
@pytest.mark.parametrize(
    ("event", "asked", "said"),
    [
        ((), {}, "got event_shape=()"),
        ((0,), {}, "got event_shape=0; wanted 1 or more"),
        ((-1, 2), {}, "got event_shape=-1; wanted 1 or more"),
        ((10**6, 10**6), {}, "numbers at most"),
        ((2,), {"std": math.inf}, "std"),
        ((2,), {"std": "a"}, "std"),
        ((2,), {"classes": 0}, "got classes=0; wanted 1 or more"),
        ((2,), {"dtype": torch.int32}, "got dtype=torch.int32"),
        ((2,), {"dtype": "float32"}, "got dtype='float32'"),
    ],
)
def test_values_that_are_none_are_refused(make, convention, event, asked, said):
    with pytest.raises((ValueError, TypeError)) as error:
        make(same, event, convention, **asked)
    assert said in str(error.value)


@pytest.mark.parametrize(("make", "convention"), MAKERS)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda x, t: x.to(torch.complex64), "torch.complex64"),
        (lambda x, t: x.long(), "torch.int64"),
        (lambda x, t: None, "NoneType"),
        (lambda x, t: (x,), "tuple"),
    ],
)
def test_an_answer_of_other_numbers_is_not_cast(make, convention, answer, kind):
    with pytest.raises(TypeError, match=f"the model gave a {kind}"):
        sample(make(answer, (2,), convention), 2, nfe=4)


@pytest.mark.parametrize("scale", [math.inf, math.nan, 0, "x"])
def test_a_scale_of_time_is_a_positive_number(scale):
    with pytest.raises(ValueError, match="time_scale"):
        from_velocity(same, (2,), "flow_matching", time_scale=scale)


def test_a_level_that_is_no_number_is_refused():
    model = as_k_diffusion(Empirical(torch.eye(2), VP()))
    with pytest.raises(ValueError, match="got sigma from nan"):
        model(torch.ones(3, 2), torch.tensor([1.0, math.nan, 1.0]))


@pytest.mark.parametrize("config", [None, [], "DDIMScheduler"])
def test_a_configuration_is_a_mapping(config):
    with pytest.raises(TypeError, match="wanted the content of a scheduler_config"):
        scheduler_path(config)
