"""Axes of arrays: what they are taken as, what is said of it, and how to say it otherwise."""

import numpy as np
import pytest
import torch

from diffode import fit, sample
from diffode.data import as_dataset, load
from diffode.data.layout import layout_of

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "is_bytes", "asked", "kind", "event"),
    [
        ((50,), False, "auto", "points", (1,)),
        ((50, 3), False, "auto", "points", (3,)),
        ((50, 9, 8), False, "auto", "images", (1, 9, 8)),
        ((50, 9, 7), False, "auto", "signals", (9, 7)),
        ((50, 2, 400), False, "auto", "signals", (2, 400)),
        ((50, 2, 400), True, "auto", "images", (1, 2, 400)),
        ((50, 9, 8), False, "signals", "signals", (9, 8)),
        ((50, 9, 7), False, "images", "images", (1, 9, 7)),
        ((50, 9, 8), False, "points", "points", (72,)),
        ((50, 40), False, "signals", "signals", (1, 40)),
        ((50, 16, 8, 8), False, "auto", "images", (16, 8, 8)),
        ((50, 16, 4, 4), False, "auto", "images", (16, 4, 4)),
        ((50, 8, 8, 4), False, "auto", "images", (4, 8, 8)),
        ((50, 48, 64, 4), True, "auto", "images", (4, 48, 64)),
        ((50, 4, 8, 8), False, "auto", "images", (4, 8, 8)),
        ((50, 4, 4, 4), False, "auto", "images", (4, 4, 4)),
        ((50, 4, 8, 3), False, "auto", "images", (3, 4, 8)),
        ((50, 3, 8, 4), False, "auto", "images", (3, 8, 4)),
        ((50, 3, 8, 1), True, "auto", "images", (3, 8, 1)),
        ((50, 8, 8, 5), False, "channels-last", "images", (5, 8, 8)),
        ((50, 8, 8, 3), False, "images", "images", (8, 8, 3)),
        ((50, 2, 2, 2, 2), False, "points", "points", (16,)),
    ],
)
def test_axes_are_taken_by_the_stated_rule(shape, is_bytes, asked, kind, event):
    layout = layout_of(shape, is_bytes, asked)
    assert (layout.kind, layout.event_shape) == (kind, event)
    assert layout(np.zeros(shape)).shape == (50, *event)


@pytest.mark.parametrize(
    ("shape", "asked", "message"),
    [
        (
            (50, 2, 2, 2, 2),
            "auto",
            r"got an array of shape \(50, 2, .* --layout points",
        ),
        ((), "auto", r"got an array of shape \(\)"),
        ((50, 3), "images", r"got layout='images' for an array of shape \(50, 3\)"),
        ((50,), "signals", r"got layout='signals' for an array of shape \(50,\)"),
        ((50, 3, 4), "channels-last", r"got layout='channels-last' for an array of"),
    ],
)
def test_other_axes_are_refused(shape, asked, message):
    with pytest.raises(ValueError, match=message):
        layout_of(shape, False, asked)


def test_what_axes_were_taken_as_is_said():
    x = RANDOM.normal(size=(40, 6, 5))
    said = as_dataset(x).notes, as_dataset(x, layout="points").notes
    assert said[0] == ("(rows, C, L) taken as signals, events of shape (6, 5)",)
    assert said[1] == ("(rows, D) taken as points, events of shape (30,)",)
    with pytest.raises(ValueError, match="layout"):
        as_dataset(x, layout="volumes")


SETS = {
    "numbers": (RANDOM.normal(size=40), "auto", (1,)),
    "signals": (RANDOM.normal(size=(40, 2, 12)), "auto", (2, 12)),
    "one channel": (RANDOM.normal(size=(40, 12)), "signals", (1, 12)),
    "latents": (RANDOM.normal(size=(40, 16, 4, 4)), "auto", (16, 4, 4)),
    "four channels": (RANDOM.integers(0, 256, (40, 8, 8, 4), np.uint8), "auto", (4, 8, 8)),
}


@pytest.mark.parametrize("kind", SETS)
def test_events_of_any_shape_train_and_are_sampled_in_their_units(tmp_path, kind):
    x, layout, event = SETS[kind]
    np.save(tmp_path / "x.npy", x)
    reading = {} if layout == "auto" else {"layout": layout}
    size = {"width": 8, "depth": 1} if len(event) == 3 else {"network": "mlp", "width": 8}
    run = fit("edm", tmp_path / "x.npy", steps=2, batch=8, device="cpu", reading=reading, **size)
    assert run.dataset.event_shape == event
    drawn = sample(run.field, 3, steps=2).x
    assert drawn.shape == (3, *event) and bool(drawn.isfinite().all())
    if kind == "four channels":
        assert float(drawn.max() - drawn.min()) > 10


def test_channels_last_are_the_same_images_as_channels_first(tmp_path):
    x = RANDOM.integers(0, 256, (40, 8, 6, 4), np.uint8)
    np.save(tmp_path / "last.npy", x)
    np.save(tmp_path / "first.npy", x.transpose(0, 3, 1, 2))
    one, two = load(tmp_path / "last.npy"), load(tmp_path / "first.npy")
    assert torch.equal(one.train[:], two.train[:]) and torch.equal(one.test[:], two.test[:])
