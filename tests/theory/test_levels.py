"""The equally spaced values that data take, found in them or told."""

import math
from itertools import pairwise

import pytest
import torch

from diffode.data.scaling import Scaling
from diffode.likelihood.dequantisation import Quantisation, quantisation_of
from diffode.rng import Rng


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def draws(*shape):
    return Rng(0).normal("x", shape, torch.float64)


def test_levels_are_found_in_data():
    k = torch.randint(0, 17, (500, 2), generator=torch.Generator().manual_seed(0))
    assert quantisation_of(k / 8 - 1.0) == Quantisation(17, -1.0, 1.0)
    eight = quantisation_of(torch.arange(256).float()[:, None] / 127.5 - 1)
    assert eight.count == 256 and abs(eight.width - 2 / 255) < 1e-7
    sparse = quantisation_of(tensor(0.0, 0.25, 1.5)[:, None])
    assert sparse == Quantisation(7, 0.0, 1.5) and sparse.width == 0.25
    assert quantisation_of(draws(400, 2)) is None and quantisation_of(torch.ones(5, 1)) is None
    assert quantisation_of(tensor(0.0, 1.0, 2.5)[:, None] * math.pi) == Quantisation(
        6, 0.0, 2.5 * math.pi
    )


GRAYS = {
    "all": range(256),
    "dark": range(64),
    "three": (0, 3, 5),
    "five": (0, 30, 77, 128, 255),
    "squares": [k * k for k in range(16)],
    "fives": [*range(2, 255, 5), 255],
    "even": (0, 4, 10, 30),
    "two": (7, 200),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", GRAYS)
def test_the_grid_of_few_gray_values_is_found(name, dtype):
    """The step is the greatest common divisor of the values' differences."""
    grays = list(GRAYS[name])
    step = math.gcd(*[b - a for a, b in pairwise(grays)])
    x = torch.tensor(grays).repeat(5).float()[:, None] / 127.5 - 1
    found = quantisation_of(x.to(dtype))
    assert found.count == (grays[-1] - grays[0]) // step + 1
    assert found.width == pytest.approx(step / 127.5, rel=1e-2 if dtype == torch.float16 else 1e-4)
    assert found.hold(x)
    moved = quantisation_of((x * 2.5 + 7).to(torch.float32))
    assert moved.count == found.count


def test_values_of_no_grid_have_no_levels():
    for values in ((0.0, 1.0, math.sqrt(2)), (0.0, 1.0, math.pi, 3.0), (1.0, math.e, 7.0)):
        assert quantisation_of(tensor(*values)[:, None]) is None
    assert quantisation_of(draws(40, 2)) is None


def test_levels_are_told_in_words():
    assert Quantisation.parse("256") == Quantisation() and Quantisation.parse(
        "17:0:16"
    ) == Quantisation(17, 0.0, 16.0)
    assert Quantisation.parse("256", Scaling.pixels()) == Quantisation(256, 0.0, 255.0)
    own = Scaling("standard", torch.zeros(2), torch.ones(2))
    assert Quantisation.parse("5:0:1", own) == Quantisation(5, 0.0, 1.0)
    with pytest.raises(ValueError, match="units of their own; wanted N:LOW:HIGH"):
        Quantisation.parse("256", own)
    for text in ("1", "x", "5:1:0", "5:0", "5:0:inf", "5:0:1:2", "", "2.5", "4:nan:1"):
        with pytest.raises(ValueError, match=r"wanted N, as 256 for N values from -1 to 1"):
            Quantisation.parse(text)
