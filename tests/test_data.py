"""Data sets: densities against draws, the digits against their source."""

import functools
import itertools
import math
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.datasets import load_digits

from diffode import data, registry
from diffode.data import digits, toys
from diffode.data.source import whole
from diffode.rng import Rng

TOYS = list(toys.TOYS)
FILES = ["fashion-mnist"]  # sets whose files come with another package
LABELLED = [name for name in TOYS if toys.TOYS[name].classes]

# -------------------------------------------------------------------------------------- registry


def test_the_list_of_sets_needs_neither_torch_nor_numpy():
    code = (
        "import sys, diffode.data as data\nfrom diffode import registry\n"
        "assert len(registry.describe('source')) == len(data.names()) > 5\n"
        "try: data.load('mons')\n"
        "except ValueError: pass\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", data.names())
def test_every_listed_set_loads_as_it_says(name):
    try:
        d = data.load(name)
    except FileNotFoundError as error:
        assert name in FILES and "put its four IDX files into" in str(error)
        pytest.skip(f"the files of {name} are not on this machine")
    assert isinstance(d, data.Dataset)
    assert d.name == name and name in repr(d)
    train, test = whole(d.train), whole(d.test)
    assert train.dtype == test.dtype == torch.float32
    assert d.train.shape[1:] == d.test.shape[1:] == d.event_shape
    assert (d.classes is None) == (d.train_labels is None) == (d.test_labels is None)
    if d.classes is not None:
        for x, y in ((d.train, d.train_labels), (d.test, d.test_labels)):
            assert y.dtype == torch.int64 and y.shape == (len(x),)
            assert y.unique().tolist() == list(range(d.classes))


def test_descriptions_are_one_line_and_have_a_reference():
    assert (
        [name for name, _, _ in registry.describe("source")]
        == data.names()
        == [*TOYS, "digits", "digits-binary", "dna", *FILES]
    )
    assert all(
        line and reference and "\n" not in line
        for _, line, reference in registry.describe("source")
    )


def test_an_unknown_name_is_refused_with_a_suggestion():
    message = r"no data set named 'mons'; did you mean 'moons'\? data sets: eight-gaussians, .*npz"
    with pytest.raises(ValueError, match=message):
        data.load("mons")
    with pytest.raises(ValueError, match=r"no data set named 'table\.txt'; data sets: .*\.npy"):
        data.load("table.txt")
    with pytest.raises(FileNotFoundError, match=r"table\.csv: no such file"):
        data.load("table.csv")
    with pytest.raises(AttributeError, match="no attribute 'Datset'"):
        _ = data.Datset


# ------------------------------------------------------------------------------------------ toys

STEP, CELL, HALF = 0.05, 10, 6.0  # a grid of midpoints on (-6, 6)^2; ten by ten of them are a cell


@functools.cache
def density(name):
    """The density at the midpoints of the grid, which divide the squares of the checkerboard."""
    axis = torch.arange(-HALF + STEP / 2, HALF, STEP, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    return toys.TOYS[name].log_density(x).exp().reshape(len(axis), len(axis))


def p_value(x, density):
    """The p of Pearson's chi-square test that points x have this density on the grid."""
    cells = density.unfold(0, CELL, CELL).unfold(1, CELL, CELL).sum((-1, -2)).flatten() * STEP**2
    size = STEP * CELL
    column, row = ((x.double() + HALF) / size).floor().long().unbind(-1)
    side = round(2 * HALF / size)
    assert ((x.abs() < HALF).all(-1)).all()
    counts = torch.bincount(column * side + row, minlength=side**2).double()
    expected = cells * len(x)
    often = expected >= 5
    rest = len(x) - expected[often].sum(), len(x) - counts[often].sum()
    expected = torch.cat((expected[often], rest[0].clamp_min(1e-3)[None]))
    counts = torch.cat((counts[often], rest[1][None]))
    statistic = ((counts - expected) ** 2 / expected).sum()
    return stats.chi2.sf(statistic.item(), len(counts) - 1)


@pytest.mark.parametrize("name", TOYS)
class TestToy:
    def test_the_density_integrates_to_one(self, name):
        assert density(name).sum() * STEP**2 == pytest.approx(1, abs=1e-6)

    def test_the_density_is_that_of_the_draws(self, name):
        assert p_value(data.load(name).train, density(name)) > 1e-3

    @pytest.mark.parametrize("axis", [0, 1])
    def test_a_density_shifted_by_a_tenth_is_not(self, name, axis):
        assert p_value(data.load(name).train, density(name).roll(2, axis)) < 1e-9

    def test_every_draw_has_positive_density(self, name):
        d = data.load(name)
        assert d.log_density(d.train).isfinite().all()

    def test_the_density_keeps_shape_and_dtype(self, name):
        x = data.load(name).test[:2]  # two rows of two coordinates, where a wrong axis would hide
        log_p = toys.TOYS[name].log_density
        for dtype in (torch.float32, torch.float64):
            assert log_p(x.to(dtype)).dtype == dtype
        single = torch.cat([log_p(row[None].double()) for row in x])
        torch.testing.assert_close(log_p(x.double()), single, rtol=0, atol=1e-12)

    def test_points_depend_on_seed_and_row_alone(self, name):
        draw = toys.TOYS[name].sample
        many, few, other = draw(100, Rng(3)), draw(10, Rng(3)), draw(100, Rng(4))
        assert torch.equal(many[0][:10], few[0])
        assert many[1] is None or torch.equal(many[1][:10], few[1])
        assert not (many[0] == other[0]).all(-1).any()

    def test_train_and_test_share_no_point(self, name):
        d = data.load(name, seed=1)
        assert (len(d.train), len(d.test)) == (20_000, 4_000)
        assert len(torch.cat((d.train, d.test)).unique(dim=0)) == 24_000

    def test_the_scale_is_of_order_one(self, name):
        std = data.load(name).train.std(0)
        assert (std > 0.9).all() and (std < 2.1).all()


@pytest.mark.parametrize("name", LABELLED)
def test_labels_have_the_stated_frequencies(name):
    d = data.load(name)
    weights = {"blobs": [0.50, 0.25, 0.15, 0.10]}.get(name, [1 / d.classes] * d.classes)
    counts = d.train_labels.bincount(minlength=d.classes)
    assert stats.chisquare(counts, np.array(weights) * len(d.train)).pvalue > 1e-3


@pytest.mark.parametrize("name", ["eight-gaussians", "pinwheel", "moons"])
def test_the_classes_are_one_another_rotated(name):
    d = data.load(name)
    turn = 2 * math.pi / d.classes
    c, s = math.cos(turn), math.sin(turn)
    means = torch.stack([d.train[d.train_labels == k].mean(0) for k in range(d.classes)])
    rotated = means @ torch.tensor([[c, s], [-s, c]])
    assert means.norm(dim=-1).min() > 1
    torch.testing.assert_close(rotated, means.roll(-1, 0), rtol=0, atol=0.08)


def test_blobs_are_where_their_labels_say():
    d = data.load("blobs")
    centres = torch.tensor([[0.0, 0], [3, 0], [0, 3], [-4, -4]])
    assert torch.equal(torch.cdist(d.train, centres).argmin(-1), d.train_labels)


def moon_point(u):
    return 2 * math.cos(u) - 1, 2 * math.sin(u) - 0.5


def spiral_point(u):
    return u * math.cos(u) / 5, u * math.sin(u) / 5


@pytest.mark.parametrize(
    ("name", "curve", "span", "std", "signs"),
    [
        ("moons", moon_point, (0, math.pi), 0.15, (1, -1)),
        ("swiss-roll", spiral_point, (1.5 * math.pi, 4.5 * math.pi), 0.1, (1,)),
    ],
)
def test_densities_along_a_curve_agree_with_adaptive_integration(name, curve, span, std, signs):
    x = torch.cat(
        (data.load(name).test[:6].double(), torch.tensor([[0.0, 0], [1.5, 2.5]]).double())
    )

    def given(u, point, sign):
        r2 = sum((p - sign * m) ** 2 for p, m in zip(point, curve(u), strict=True))
        return math.exp(-r2 / (2 * std**2)) / (2 * math.pi * std**2)

    edges = np.linspace(*span, 41)
    expected = [
        sum(
            integrate.quad(given, a, b, args=(point, sign), epsabs=0, epsrel=1e-11)[0]
            for sign in signs
            for a, b in itertools.pairwise(edges)
        )
        / ((span[1] - span[0]) * len(signs))
        for point in x.tolist()
    ]
    log_p = toys.TOYS[name].log_density(x)
    torch.testing.assert_close(
        log_p, torch.tensor(expected, dtype=torch.float64).log(), rtol=0, atol=1e-8
    )


# ---------------------------------------------------------------------------------------- digits


def test_digits_are_those_of_scikit_learn():
    d, source = data.load("digits"), load_digits()
    held = digits.held_out(torch.from_numpy(source.target))
    images = torch.from_numpy(source.images).float()[:, None]
    for x, y, rows in (
        (d.train, d.train_labels, ~held),
        (d.test, d.test_labels, held),
    ):
        assert torch.equal((x + 1) * 8, images[rows])
        assert torch.equal(y, torch.from_numpy(source.target)[rows])
    assert d.event_shape == (1, 8, 8) and d.train.min() == -1 and d.train.max() == 1


def test_the_split_of_the_digits_is_stratified_and_never_changes():
    d, again = data.load("digits"), data.load("digits", seed=5)
    test, train = d.test_labels.bincount(), d.train_labels.bincount()
    assert ((test - 0.2 * (test + train)).abs() <= 0.5).all()
    assert torch.equal(d.test, again.test) and torch.equal(d.train, again.train)
    held = digits.held_out(torch.from_numpy(load_digits().target)).nonzero().flatten().tolist()
    assert (len(held), zlib.crc32(repr(held).encode())) == (359, 2944685507)


def test_the_digits_carry_their_attribution():
    notice = Path(digits.__file__).with_name("NOTICE-digits.txt").read_text()
    for words in ("Alpaydin", "Kaynak", "CC BY 4.0", "BSD 3-Clause", "scikit-learn developers"):
        assert words in notice
