"""Samples that are read when they are asked for give what the same rows in memory give."""

import numpy as np
import pytest
import torch

from diffode import build, train
from diffode.data.base import Dataset
from diffode.data.fingerprint import Fingerprint, Split
from diffode.data.scaling import Scaling
from diffode.data.source import Source, chunks, whole
from diffode.data.stats import data_stats

BYTES = np.random.default_rng(0).integers(0, 256, (60, 3, 4, 4), np.uint8)


def test_a_source_gives_the_rows_of_its_tensor_by_the_same_index():
    source, x = Source(BYTES), torch.from_numpy(BYTES).float()
    assert source.shape == x.shape and len(source) == 60
    index = torch.tensor([5, 3, 3, 59])
    assert torch.equal(source[index], x[index]) and torch.equal(source[4:9], x[4:9])
    assert torch.equal(torch.cat(list(chunks(source, 100))), x) and torch.equal(whole(source), x)
    chosen = Source(BYTES, index, Scaling.pixels())
    assert torch.equal(chosen[:], x[index] / 127.5 - 1)


@pytest.mark.parametrize("pieces", [1, 7])
def test_statistics_and_fingerprint_do_not_depend_on_the_pieces(monkeypatch, pieces):
    source = Source(BYTES, None, Scaling.pixels())
    x = source[:]
    known, told = data_stats(x), Fingerprint.of(Dataset("a", x, x[:9]))
    monkeypatch.setattr("diffode.data.source.chunks.__defaults__", (48 * pieces,))
    found, seen = data_stats(source), Fingerprint.of(Dataset("a", source, x[:9]))
    assert known.differs(found) is None and told.differs(seen) is None
    assert torch.allclose(known.spectrum, found.spectrum, atol=1e-6)
    assert known.std == pytest.approx(float(x.std(correction=0, dim=0).square().mean().sqrt()))


def test_training_on_a_source_is_training_on_its_rows():
    source = Source(BYTES, None, Scaling.pixels())
    losses = []
    for data in (source, source[:]):
        objective = build("edm", (3, 4, 4), width=8, depth=1)
        losses.append([s.losses for s in train(objective, data, steps=5, batch=16)])
    assert losses[0] == losses[1]


def test_a_value_that_is_not_finite_is_found_when_it_is_read():
    rows = np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)
    rows[7] = np.nan
    objective = build("edm", (2,), width=8, depth=1)
    with pytest.raises(ValueError, match="not finite"):
        list(train(objective, Source(rows), steps=5, batch=3000))


def test_units_go_there_and_back():
    scaling = Scaling("standard", torch.tensor([5.0, -3.0]), torch.tensor([0.1, 20.0]))
    x = torch.randn(50, 2, dtype=torch.float64) * scaling.width + scaling.shift
    u = scaling.to_model(x)
    assert torch.allclose(scaling.to_data(u), x, rtol=1e-14)
    jacobian = torch.func.jacrev(lambda v: scaling.to_data(v[None])[0])(u[0])
    assert scaling.log_volume((2,)) == pytest.approx(float(jacobian.det().log()))
    assert Scaling.pixels().log_volume((1, 8, 8)) == pytest.approx(64 * np.log(127.5))


def test_units_of_other_numbers_are_told_apart():
    x = torch.randn(30, 2)
    one, two = (Scaling("standard", torch.zeros(2), torch.tensor([1.0, w])) for w in (1.0, 2.0))
    known = Fingerprint.of(Dataset("a", x, x[:9], scaling=one))
    assert known.differs(Fingerprint.of(Dataset("a", x, x[:9], scaling=two))) == "units"
    assert known.differs(Fingerprint.of(Dataset("a", x, x[:9], scaling=one))) is None


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_that_is_no_scale_is_refused(width):
    with pytest.raises(ValueError, match="scaling"):
        Scaling("standard", torch.zeros(1), torch.tensor([width]))


def test_an_option_that_means_nothing_for_the_data_is_refused():
    from diffode.data import as_dataset, load

    with pytest.raises(ValueError, match="resize=32"):
        load("moons", resize=32)
    with pytest.raises(ValueError, match="no option 'size'"):
        as_dataset(np.zeros((20, 2)), size=3)


class Counted:
    """Rows that count how often each is read."""

    def __init__(self, values):
        self.values, self.shape, self.times = values, values.shape, np.zeros(len(values), int)

    def __getitem__(self, index):
        np.add.at(self.times, index, 1)
        return self.values[index]


@pytest.mark.parametrize("shape", [(7,), (3, 4, 4), (3, 20, 20)])
def test_statistics_and_fingerprint_take_one_pass_and_are_those_in_memory(shape):
    values = np.random.default_rng(0).normal(5, 2, size=(300, *shape)).astype(np.float32)
    values[:150] -= 3  # in order of their class
    rows = Counted(values)
    source, x = Source(rows), torch.from_numpy(values)
    found, known = data_stats(source), data_stats(x)
    split, told = Split.of(source), Split.of(x)
    assert rows.times[1:].tolist() == [1] * 299, "each row is read once"
    assert known.differs(found) is None and told == split
    torch.testing.assert_close(found.mean, known.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.spectrum, known.spectrum, rtol=1e-5, atol=1e-6)
    assert found.std == pytest.approx(known.std, rel=1e-9)
    assert found.norm == pytest.approx(known.norm, rel=1e-9)
    if known.basis is not None:
        one, two = (s.basis * s.spectrum @ s.basis.T for s in (found, known))
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_a_source_that_does_not_vary_is_refused():
    with pytest.raises(ValueError, match="does not vary"):
        data_stats(Source(np.full((20, 3), 0.1)))


def test_half_precision_is_scaled_in_a_wider_type():
    x = np.random.default_rng(0).normal(1000, 30, (50, 2)).astype(np.float16)
    scaling = Scaling("standard", torch.full((2,), 1000.0), torch.full((2,), 30.0))
    wide = (torch.from_numpy(x.astype(np.float64)) - 1000) / 30
    torch.testing.assert_close(Source(x, None, scaling)[:], wide.float(), rtol=1e-6, atol=1e-6)
