"""Samples that are read when they are asked for give what the same rows in memory give."""

import numpy as np
import pytest
import torch

from diffode import build, train
from diffode.data.base import Dataset
from diffode.data.fingerprint import Fingerprint
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
