"""The comparison with diffusers' schedulers, in a small size."""

import math

import pytest

from benchmarks import schedulers as bench


@pytest.fixture(scope="module")
def models():
    laws, bench.LAWS = bench.LAWS, ((2, 3, 1),)
    yield list(bench.mixtures(3.0, 4, 5))
    bench.LAWS = laws


def test_every_scheduler_goes_to_the_same_end(models):
    for model in models:
        for name, peer in {**bench.peers(), "ours": bench.ours(3.0)}.items():
            few, many = (bench.error(peer, model, calls) for calls in (6, 40))
            assert many < 0.2 and many < few, (model.path, name)


def test_a_peer_that_starts_lower_starts_on_the_trajectory(models):
    flow = models[-1]
    assert flow.path == "flow"
    x0, n = flow.means(flow.x, 0.0, 1.0)
    x = flow.start(0.01, 0.99)
    assert (x - (0.01 * x0 + 0.99 * n)).abs().max() < 1e-3


def test_figures_are_ratios_to_the_best():
    own = [[1.0] * 5, [2.0] * 5]
    others = {"a": [[2.0] * 5, [4.0] * 5], "b": [[8.0] * 5, [3.0] * 5]}
    cells = bench._cells(own, others)
    assert cells[-1] == "a" and cells[:6] == ["2.00"] * 6
    assert float(cells[6]) == pytest.approx(math.sqrt(3), abs=0.01)


def test_the_report_has_every_weight_told_and_untold(monkeypatch):
    monkeypatch.setattr(bench, "LAWS", ((2, 3, 1),))
    monkeypatch.setattr(bench, "CALLS", (5, 6))
    monkeypatch.setattr(bench, "WEIGHTS", (3.0,))
    text = "\n".join(bench.report([], 2, 5))
    assert "| w = 3, told |" in text and "| w = 3, untold |" in text and "| s = 0.2 |" in text
    assert "nan" not in text
