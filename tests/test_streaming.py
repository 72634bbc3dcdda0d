"""Nothing that measures asks for a whole set: too many rows at once are refused here."""

import pytest
import torch

from diffode.data.base import Dataset
from diffode.data.scaling import Scaling
from diffode.data.source import Source, equal
from diffode.metrics import Panel, gaussian_fit, nearest, reference
from diffode.metrics.features import principal
from diffode.metrics.moments import mean_covariance
from diffode.rng import Rng
from tests.draws import Quick

SIZE = 60  # pixels of a side: beyond 2,048 coordinates


class Few:
    """Bytes of grey images of which no more than some are read at once."""

    def __init__(self, size, count, most, seed=0):
        x = Quick(seed).uniform("x", (count, 1, size, size))
        self.x, self.most = (256 * x).byte().numpy(), most
        self.shape = self.x.shape

    def __getitem__(self, index):
        assert len(index) <= self.most, f"{len(index)} rows at once"
        return self.x[index]


def sources(size=SIZE, count=1600, most=1200):
    parts = [Few(size, n, most, seed) for seed, n in enumerate((count, count // 2))]
    train, test = (Source(part, scaling=Scaling.pixels()) for part in parts)
    return Dataset("bytes", train, test, scaling=Scaling.pixels())


def test_a_panel_reads_no_more_than_a_piece_at_once():
    data = sources()
    panel = Panel(data, count=40, metrics=[])
    assert panel.floor["copying"].value == pytest.approx(0.5, abs=0.2)
    assert panel.gaussian["sliced W2"].value >= 0 and not panel.notes
    about = panel.describe()
    assert about["train_count"] == about["copying_count"] == 1600


def test_figures_of_a_source_are_those_of_the_tensor_with_the_same_rows():
    data = sources(size=8, count=400)
    held = Dataset("bytes", data.train[:], data.test[:])
    one, two = (Panel(d, count=60, features=["pixels", "pca"]) for d in (data, held))
    assert one.floor == two.floor and one.gaussian == two.gaussian
    assert one.describe() == two.describe()
    assert equal(data.train, held.train) and not equal(data.train, data.test)


def test_moments_neighbours_and_axes_do_not_depend_on_the_pieces(monkeypatch):
    x = Quick(1).normal("x", (500, 6)) + 3
    mean, covariance = mean_covariance(x)
    near = nearest(x[:20] + 0.1, x)
    axes = principal(x, 2)
    monkeypatch.setattr("diffode.metrics.moments._VALUES", 60)
    monkeypatch.setattr("diffode.metrics.neighbours._AT_ONCE", 7)
    again = mean_covariance(x)
    assert torch.allclose(again[0], mean) and torch.allclose(again[1], covariance)
    assert torch.allclose(mean, x.double().mean(0))
    assert torch.allclose(covariance, torch.cov(x.T.double()))
    assert all(torch.equal(a, b) for a, b in zip(nearest(x[:20] + 0.1, x), near, strict=True))
    assert principal(x, 2).hash == axes.hash


def test_the_gaussian_fit_without_a_covariance_has_the_moments_of_the_data(monkeypatch):
    turn = torch.tensor([[2.0, 0.5, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.3]])
    x = Quick(1).normal("x", (300, 3)) @ turn + torch.tensor([1.0, -2.0, 3.0])
    monkeypatch.setattr("diffode.metrics.moments.MOST_COORDINATES", 2)
    monkeypatch.setattr("diffode.metrics.moments._VALUES", 90)
    drawn = gaussian_fit(x, 20_000, Rng(0))
    assert torch.allclose(drawn.mean(0), x.mean(0), atol=0.1)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(x.T), atol=0.2)


def test_the_first_axes_are_found_without_a_covariance(monkeypatch):
    x = Quick(1).normal("x", (400, 12)) * torch.tensor([9.0, 5.0] + [0.1] * 10)
    plain = principal(x, 2)(x)
    monkeypatch.setattr("diffode.metrics.features.MOST_COORDINATES", 4)
    some = principal(x, 2)
    assert torch.allclose(some(x).abs(), plain.abs(), atol=1e-4)
    assert some.about == {"axes": "of 400 training points"} and not principal(x[:, :4]).about


def test_copies_of_a_very_large_set_are_looked_for_in_a_part_of_it(monkeypatch):
    monkeypatch.setattr(reference, "MOST_PRODUCTS", 40 * 64 * 100)
    panel = Panel(sources(size=8, count=400), count=40, features=["pixels"])
    assert panel.notes == [
        "copying and the Gaussian fit: of 100 of 400 training points, at random"
    ]
    assert panel.describe()["copying_count"] == 100
    assert panel.floor["copying"].value == pytest.approx(0.5, abs=0.2)
