"""Files keep an order, often by class: no first rows stand for all."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffode.cli.likelihood import _points
from diffode.data import load
from diffode.data.base import Dataset
from diffode.data.rows import held_out, some_rows
from diffode.fields import Field
from diffode.likelihood.dequantisation import quantisation_of
from diffode.metrics import bandwidth, floor
from diffode.metrics.panel import Panel
from diffode.rng import Rng
from diffode.runs.targets import Target
from diffode.viz.points import principal_axes

SIZES = (1200, 900, 600, 250, 50)
Y = torch.arange(5).repeat_interleave(torch.tensor(SIZES))
X = 0.3 * Rng(3).normal("x", (3000, 2)) + torch.stack((2.0 * Y, 0.0 * Y), 1)


@pytest.fixture(scope="module")
def ordered(tmp_path_factory):
    """A file whose rows are sorted by class."""
    path = tmp_path_factory.mktemp("rows") / "sorted.npz"
    np.savez(path, x=X.numpy(), y=Y.numpy())
    return load(path)


def shares(labels, n):
    return (labels.bincount(minlength=5) / n - torch.tensor(SIZES) / 3000).abs().max() * n


@pytest.mark.parametrize("n", [7, 30, 300, 2999])
def test_each_class_has_its_share_of_some_rows(n):
    rows = some_rows(3000, n, Y)
    assert len(rows.unique()) == n and bool((rows.diff() > 0).all())
    assert shares(Y[rows], n) < 1
    assert len(some_rows(3000, n).unique()) == n
    assert torch.equal(some_rows(n, n + 1, Y[:n]), torch.arange(n))


def test_some_rows_without_labels_are_drawn_from_everywhere():
    rows = some_rows(3000, 300).double()
    assert abs(float(rows.mean()) - 1500) < 4 * 3000 / (12 * 300) ** 0.5


@pytest.mark.parametrize("n", [30, 300, 7000])
def test_labels_to_draw_with_have_the_shares_of_the_classes_in_no_order(ordered, n):
    labels = ordered.labels(n)
    assert labels.shape == (n,) and shares(labels, n) < 1
    assert not torch.equal(labels, labels.sort().values)
    assert torch.equal(labels, ordered.labels(n))
    if n > 30:
        assert shares(labels[: n // 2], n // 2) < 0.1 * n


def test_a_file_sorted_by_class_is_split_evenly(ordered):
    assert ordered.test_labels.bincount().tolist() == [k // 10 for k in SIZES]
    assert len(torch.cat((ordered.train, ordered.test)).unique(dim=0)) == 3000


def test_a_class_with_one_row_keeps_it_to_train_on():
    y = torch.tensor([0] * 40 + [1] * 40 + [2])
    assert all(not held_out(81, 8, y, seed)[80] for seed in range(40))
    assert held_out(10, 2, torch.arange(10)).sum() == 2


def test_real_data_score_the_same_in_any_order():
    order = Rng(1).permutation("order", 3000)
    test, train = X[order[:600]], X[order[600:].sort().values]
    mixed = train[Rng(2).permutation("order", 2400)]
    one, two = floor(train, test, 500), floor(mixed, test, 500)
    assert one.precision > 0.95 and one.precision == pytest.approx(two.precision, abs=0.03)
    assert bandwidth(train) == pytest.approx(bandwidth(mixed), rel=0.05)


@pytest.mark.parametrize("count", [100, 1000])
def test_reference_and_floor_of_a_labelled_run_have_the_classes_shares(ordered, count):
    data = Dataset("x", ordered.train, ordered.test.repeat(10, 1), ordered.train_labels,
                   ordered.test_labels.repeat(10), 5)  # fmt: skip
    panel = Panel(data, count, ["pixels"], labels=True)
    for x in (panel.reference, panel.real):
        assert shares((x[:, 0] / 2).round().clamp(0, 4).long(), count) < 3
    assert "each class in its share" in panel.describe()["floor"]


@pytest.mark.parametrize("data", ["test", "train"])
def test_the_likelihood_is_measured_on_points_of_all_classes(ordered, data):
    def drawn(seed, classes):
        asked = SimpleNamespace(data=data, n=30, seed=seed)
        field = Field()
        field.event_shape, field.unconditional = ordered.event_shape, classes is None
        return _points(ordered, asked, Target("run", field, classes))

    x, y, rows = drawn(0, 5)
    assert len(x) == 30 and shares(y, 30) < 1
    assert torch.equal(x, getattr(ordered, data)[rows])
    x, y, _ = drawn(0, None)
    assert y is None and shares((x[:, 0] / 2).round().clamp(0, 4).long(), 30) < 2
    assert not torch.equal(x, drawn(1, None)[0])


def test_the_values_of_images_are_not_those_of_the_first_rows():
    dark = torch.zeros(70, 1, 256, 256)
    dark[:, :, 0] = torch.arange(256) % 128 / 127
    bright = dark.clone()
    bright[:, :, 1] = 2.0
    assert quantisation_of(torch.cat((dark, bright))).high == 2.0


def test_axes_of_a_picture_are_those_of_all_rows():
    mean, axes, _ = principal_axes(X.double())
    assert mean[0] == pytest.approx(float(X[:, 0].mean()), abs=0.3)
    assert abs(axes[0, 0]) > 0.99
