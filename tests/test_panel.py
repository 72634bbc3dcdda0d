"""The panel: each metric finds a planted defect of known size, and real data are the floor."""

import json
import math

import pytest
import torch

from diffode.bench.cells import split
from diffode.bench.results import Results
from diffode.bench.rows import notes, rows
from diffode.data import Dataset, load
from diffode.metrics import class_variation, copying, straightness
from diffode.metrics.estimates import Estimate
from diffode.metrics.panel import Panel
from diffode.rng import Rng
from diffode.runs.evaluation import Evaluation
from tests.draws import Quick

COUNT = 1000
RING = "eight-gaussians"


@pytest.fixture(scope="module")
def ring():
    pytest.importorskip("ot")
    return Panel(load(RING), COUNT, ["pixels"])


@pytest.fixture(scope="module")
def fresh():
    """Points of the law that no split holds, with their components."""
    data = load(RING, seed=7)
    return data.train[:COUNT], data.train_labels[:COUNT]


def beyond(panel, found, name):
    """By how many standard errors of two draws of real data a figure lies above the floor."""
    floor = panel.floor[name]
    return (found[name].value - floor.value) / (2**0.5 * floor.stderr)


def frechet_of(panel):
    return next(m.name for m in panel.metrics if m.name.startswith("Frechet"))


def test_fresh_draws_of_the_law_score_like_the_floor(ring, fresh):
    found = ring.measure(*fresh)
    assert set(found) == set(ring.floor)
    assert found["modes"].value == 8 and found["accuracy"].value > 0.995
    for name in found:
        if found[name].stderr > 0:
            assert abs(beyond(ring, found, name)) < 3.5, name


def test_a_missing_mode_is_seen(ring, fresh):
    """Its eighth of the samples go to the other modes."""
    x, y = fresh
    kept = x[y != 3]
    found = ring.measure(kept[torch.arange(COUNT) % len(kept)])
    assert found["modes"].value == 7 and found["least share"].value < 0.02
    assert found["class TV"].value == pytest.approx(1 / 8, abs=3 * found["class TV"].stderr)
    assert found["recall"].value == pytest.approx(7 / 8, abs=0.04)
    assert found["coverage"].value < 7 / 8 + 0.03
    assert found["precision"].value > 0.97
    for name in ("W2", "sliced W2", "energy", "MMD^2"):
        assert beyond(ring, found, name) > 3, name


def test_a_shifted_mean_is_seen_at_its_size(ring, fresh):
    """Of two sets with one mean, a shift d adds exactly d^2 to a squared distance.

    The means of two draws of 1,000 are themselves .09 apart in each coordinate, so they are put
    on each other first. The sliced distance has the mean of cos^2 over its 256 directions of d^2.
    """
    same = fresh[0] + (ring.reference.double().mean(0) - fresh[0].double().mean(0)).float()
    near, found = ring.measure(same), ring.measure(same + torch.tensor([0.9, 0.0]))
    added = {n: found[n].value ** 2 - near[n].value ** 2 for n in ("W2", "sliced W2")}
    assert added["W2"] == pytest.approx(0.81, rel=1e-4)
    assert added["sliced W2"] == pytest.approx(0.81 / 2, abs=4 * 0.81 / (8 * 256) ** 0.5)
    assert found["W2"].value == pytest.approx(0.9, abs=0.15)
    assert found["sliced W2"].value == pytest.approx(0.9 / 2**0.5, abs=0.15)
    frechet = frechet_of(ring)
    assert found[frechet].value - near[frechet].value == pytest.approx(0.81, rel=1e-4)
    assert found[frechet].value == pytest.approx(0.81, abs=3 * found[frechet].stderr)
    for name in ("energy", "MMD^2", frechet, "KID" + frechet[7:]):
        assert beyond(ring, found, name) > 3, name


def test_a_tenth_of_noise_is_seen_at_its_size(ring, fresh):
    """Uniform over a square in which a sixth is near a mode."""
    x = fresh[0].clone()
    count = COUNT // 10
    x[:count] = 10 * Rng(3).uniform("noise", (count, 2)).float() - 5
    found = ring.measure(x)
    near = 8 * torch.pi * 0.6**2 / 100
    for name in ("high quality", "precision"):
        assert found[name].value == pytest.approx(1 - 0.1 * (1 - near), abs=0.02), name
    assert ring.floor["density"].value - found["density"].value > 0.05
    assert found["recall"].value > 0.97
    for name in ("W2", "sliced W2"):
        assert beyond(ring, found, name) > 3, name


def test_copies_of_the_training_set_are_seen(ring):
    """In all that compares laws they are real data; a half of copies scores three quarters."""
    data = load(RING)
    copies, others = data.train[:COUNT].clone(), load(RING, seed=7).train[:COUNT]
    found = ring.measure(copies)
    assert found["copying"].value > 0.999
    assert abs(beyond(ring, found, "energy")) < 3.5
    half = torch.where((torch.arange(COUNT) % 2 == 0)[:, None], copies, others)
    found = ring.measure(half)["copying"]
    assert found.value == pytest.approx(0.75, abs=4 * found.stderr)


def test_a_wrong_class_for_a_tenth_is_seen_at_its_size(ring, fresh):
    x, y = fresh
    wrong = torch.where(torch.arange(COUNT) < COUNT // 10, (y + 1) % 8, y)
    assert ring.measure(x, wrong)["accuracy"].value == pytest.approx(0.9, abs=0.005)


def test_digits_that_are_blurred_copies_or_lack_a_class_are_seen():
    data = load("digits")
    panel = Panel(data)
    frechet = next(m.name for m in panel.metrics if m.name.startswith("Frechet[digits"))
    assert panel.count == len(data.train) and len(panel.reference) == len(data.test)
    assert abs(panel.floor["copying"].value - 0.5) < 3 * panel.floor["copying"].stderr
    noisy = data.train + 0.5 * Quick(1).normal("noise", data.train.shape)
    found = panel.measure(noisy)
    assert beyond(panel, found, "W2") > 3 and beyond(panel, found, frechet) > 3
    assert found["precision"].value < 0.5 < panel.floor["precision"].value
    kept = data.train[data.train_labels != 3]
    found = panel.measure(kept[torch.arange(panel.count) % len(kept)])
    assert found["class TV"].value == pytest.approx(0.1, abs=0.04)
    assert beyond(panel, found, "class TV") > 2
    assert found["copying"].value > 0.999


def test_what_was_compared_is_said_and_is_the_same_every_time(ring):
    about = Panel(load(RING), COUNT, ["pixels"]).describe()
    assert about == ring.describe() == json.loads(json.dumps(about))
    assert about["reference_hash"] == ring.reference_hash and len(ring.reference_hash) == 12
    other = Panel(load(RING, seed=1), COUNT, ["pixels"])
    assert other.reference_hash != ring.reference_hash
    assert about["floor"].startswith("1000 other test points")
    assert about["metrics"] == [m.name for m in ring.metrics]
    assert {m.better for m in ring.metrics} == {"low", "high", "half", "one"}


def test_samples_floor_and_reference_share_no_row():
    data = load(RING)
    panel = Panel(data, 2000, ["pixels"])
    rows = torch.cat((panel.reference, panel.real))
    assert len(rows.unique(dim=0)) == len(rows) == 4000
    assert Panel(data, 10**6, ["pixels"]).count == len(data.train)


def test_samples_that_do_not_fit_are_refused(ring):
    with pytest.raises(ValueError, match=r"got samples of shape \(10, 2\); wanted 1000 at least"):
        ring.measure(torch.zeros(10, 2))
    with pytest.raises(ValueError, match="got 5 samples"):
        Panel(load(RING), 5)


def test_a_metric_that_cannot_be_had_is_named_and_leaves_the_others():
    """A reference of one point, again and again, has no kernel width."""
    x, same = Quick(1).normal("x", (200, 2)), torch.full((50, 2), 0.3)
    panel = Panel(Dataset("one point", x, same), 50, ["pixels"])
    found = panel.measure(x)
    assert math.isnan(found["MMD^2"].value) and "all equal" in found["MMD^2"].refused
    assert found["energy"].value > 0 and found["copying"].value > 0
    assert panel.bandwidth is None and panel.describe()["mmd_bandwidth"] is None
    settings = {"solver": "s", "nfe": 1, "seed": 0, "weights": "ema", "checkpoint": "c",
                "shortfall": ""}  # fmt: skip
    result = Evaluation("one point", settings, panel, found)
    lines = {row[0]: row for row in result.table().rows}
    assert lines["MMD^2"][1:4] == ["none"] * 3 and lines["energy"][1] != "none"
    note = next(line for line in result.notes() if line.startswith("no MMD^2: "))
    assert note in result.markdown() and "few points" in result.markdown()
    stored = json.loads(json.dumps(result.content()))["metrics"]["MMD^2"]
    assert stored["value"] is None and "all equal" in stored["refused"]


def test_a_comparison_names_the_metric_that_one_seed_lacks():
    place = {"data": "d", "field": "edm", "solver": "trig", "allowed": 5, "tolerance": None,
             "nfe": 5.0, "seconds": 1.0, "unfinished": 0, "picture": None}  # fmt: skip
    both = {"W2": Estimate(1.0, 0.1), "MMD^2": Estimate(0.1, 0.1)}
    one = both | {"MMD^2": Estimate(math.nan, refused="points that are all equal")}
    cells = [place | split(found, "metrics") for found in (both, one)]
    assert json.loads(json.dumps(cells[1]))["lacking"] == {"MMD^2": "points that are all equal"}
    (row,) = rows(Results([], {}, {}, {}, cells))
    assert row.metrics.keys() == {"W2"} and row.refused is None
    assert notes([row], "d") == ["no MMD^2 of edm with trig: points that are all equal"]


def test_points_to_compare_with_must_be_held_out():
    x = Quick(1).normal("x", (200, 2))
    with pytest.raises(ValueError, match="the test points are the training points"):
        Panel(Dataset("twice", x, x), 50)


def test_a_gaussian_fit_ties_by_frechet_and_loses_by_w2_in_the_plane():
    panel = Panel(load("moons"), 500)
    fit, real = panel.gaussian, panel.floor
    near = frechet_of(panel)
    assert fit[near].value < real[near].value + 4 * (real[near].stderr + fit[near].stderr)
    assert panel.headline == "W2"
    assert fit["W2"].value > real["W2"].value + 4 * (real["W2"].stderr + fit["W2"].stderr)


# ----------------------------------------------------------------------------- labels and paths


def test_class_shares_are_half_the_sum_of_their_differences():
    a = torch.arange(10).repeat(30)
    missing = torch.where(a == 3, 4, a)
    assert class_variation(a, a, 10).value == 0
    assert class_variation(missing, a, 10).value == pytest.approx(0.1)
    with pytest.raises(ValueError, match="wanted two or more, from 0 to 8"):
        class_variation(a, a, 9)


@pytest.mark.parametrize(("far", "value"), [(50.0, 0.0), (0.0, 1.0)])
def test_copying_states_an_error_where_all_pairs_agree(far, value):
    """Forty samples far away, or all of them copies: the true share may still be some percent."""
    train, held_out = (Rng(0).normal(name, (40, 2)) for name in ("train", "held out"))
    found = copying(train + far, train, held_out)
    assert found.value == value
    assert 0.03 < 1.96 * found.stderr < 0.12  # three in forty is not unlikely at 7 %


def test_fair_samples_pass_the_copying_test():
    draws = [Quick(k).normal("x", (400, 2)) for k in range(20)]
    found = [copying(x, Quick(99).normal("x", (900, 2)), Quick(98).normal("x", (400, 2)))
             for x in draws]  # fmt: skip
    spread = torch.tensor([e.value for e in found]).std()
    assert all(abs(e.value - 0.5) < 4 * e.stderr for e in found)
    assert spread < 1.3 * found[0].stderr


def test_straightness_of_a_half_circle_is_two_over_pi():
    angle = torch.linspace(0, torch.pi, 400).double()
    circle = torch.stack((angle.cos(), angle.sin()), dim=1)[:, None]
    line = torch.linspace(0, 1, 400).double()[:, None, None].expand(-1, 1, 2)
    assert straightness(circle.repeat(1, 2, 1)).value == pytest.approx(2 / torch.pi, rel=1e-4)
    assert straightness(line.repeat(1, 2, 1)).value == pytest.approx(1)
    with pytest.raises(ValueError, match="wanted three states"):
        straightness(line[:2])


def test_the_first_figure_is_w2_in_the_plane_and_a_frechet_distance_of_images():
    assert Panel(load("moons"), 60).headline == "W2"
    assert Panel(load("digits"), 60, ["pca"]).headline.startswith("Frechet[pca")
    assert Panel(load("digits"), 60, []).headline == "sliced W2"
