"""Arguments that no answer fits are refused; arguments of sane data sets are taken."""

from pathlib import Path
from typing import Any

import pytest
import torch

from diffode import build, decode, encode, fit, log_prob, sample, train
from diffode.data import Dataset
from diffode.fields import VP, Empirical
from diffode.runs.run import execute
from diffode.training import data_stats

POINTS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [-1.0, 0.5], [0.5, 0.5], [1.0, 1.5], [-2.0, 0.0]])
FIELD = Empirical(POINTS, VP())


@pytest.mark.parametrize("options", [{"nfe": 0}, {"nfe": -1}, {"steps": 0}, {"steps": -2}])
def test_counts_below_one_are_no_budget(options: dict[str, int]) -> None:
    """They gave the answer of one evaluation."""
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"got {name}={value}; wanted 1 or more"):
        sample(FIELD, 4, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{name}={value}|got {value} steps"):
        encode(FIELD, POINTS, **options)  # type: ignore[arg-type]


def test_an_unknown_end_is_no_end() -> None:
    """A misspelt "denoise" left the noise in, without a word."""
    with pytest.raises(ValueError, match="got final='denoised'; wanted 'none' or 'denoise'"):
        sample(FIELD, 4, final="denoised")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got final='denoised'; wanted 'none' or 'denoise'"):
        decode(FIELD, POINTS, final="denoised")  # type: ignore[arg-type]


def test_classes_are_counted_from_the_labels() -> None:
    """A data set with labels and no number of classes could not be trained on them."""
    labels = torch.tensor([0, 1, 2, 0])
    data = Dataset("six", POINTS[:4], POINTS[4:], labels, torch.tensor([2, 1]))
    assert data.classes == 3
    run = fit("vp", data, labels=True, steps=2, width=8)
    assert sample(run.field, 2, nfe=2, y=torch.tensor([0, 2])).x.shape == (2, 2)
    with pytest.raises(ValueError, match="got the label -1; labels are 0, 1"):
        Dataset("six", POINTS[:4], POINTS[4:], labels - 1)


def test_points_that_require_gradients_are_points() -> None:
    """A copy of the field's statistics failed in torch's own words."""
    points = POINTS.clone().requires_grad_()
    assert not data_stats(points).mean.requires_grad
    assert fit("edm", Dataset("six", points, points), steps=2, width=8).losses


def test_refusals_in_our_own_words() -> None:
    """Seeds that are no whole numbers, weights that are words, tuples of one."""
    with pytest.raises(TypeError, match=r"got seed=1.5; wanted a whole number"):
        fit("edm", "moons", seed=1.5, steps=2)
    with pytest.raises(TypeError, match="got weights of type str"):
        Empirical(POINTS, VP(), weights="equal")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got probes='many'; wanted a whole number"):
        log_prob(FIELD, POINTS, trace="hutchinson", probes="many")  # type: ignore[arg-type]
    objective = build("edm", (2,), stats=data_stats(POINTS), width=8)
    data: Any = (POINTS,)
    with pytest.raises(ValueError, match="got a tuple of 1; wanted data x, or the pair"):
        next(train(objective, data, steps=2))


def test_a_run_goes_on_in_a_folder_given_as_text(tmp_path: Path) -> None:
    """Of `fit` and of `execute`, on data in memory."""
    data = Dataset("moons", POINTS, POINTS)
    out = str(tmp_path / "run")
    run = fit("edm", data, out=out, steps=2, width=8)
    plan = run.plan.altered({"steps": 4})
    assert len(execute(plan, data, out=out, resume=True).losses) == 2
