"""The page of a run: its drawing of the loss."""

import re

import pytest

from diffode.runs.report import curve


@pytest.mark.parametrize(("count", "points"), [(2, 2), (150, 150), (1000, 143)])
def test_the_loss_is_a_line_of_means(count, points):
    drawn = curve(range(1, count + 1), [1 / k for k in range(1, count + 1)])
    line = re.search(r'<polyline points="([^"]+)"', drawn).group(1).split()
    assert len(line) == points


def test_one_loss_is_a_sentence_and_no_empty_chart():
    assert "step 3: 0.998" in curve([3], [0.998]) and "<svg" not in curve([3], [0.998])
    assert "No losses" in curve([], [])


def test_ticks_are_round_and_a_loss_that_is_not_finite_has_none():
    drawn = curve([10, 500, 1000], [3.0, 0.4, 0.03])
    assert all(f">{tick}</text>" in drawn for tick in ("0.05", "0.1", "2", "200", "1,000"))
    assert "<svg" in curve([1, 2], [1.0, float("inf")])
