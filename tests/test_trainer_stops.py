"""What training leaves when it ends, stops, fails or cannot begin."""

import json
import math
from itertools import count, islice

import pytest
import torch

from diffode.data import load
from diffode.runs import loading
from diffode.runs.building import build
from diffode.training import Objective, checkpoint, data_stats
from diffode.training.hardware import Hardware
from diffode.training.trainer import Diverged, train
from tests.fields import Point

MOONS = load("moons")
X, Y = MOONS.train[:50], MOONS.train_labels[:50]


def make(name="edm", classes=None, **options):
    return build(name, (2,), classes, data_stats(X), width=16, depth=1, **options)


def begin(objective, data=X, **options):
    return train(objective, data, **{"steps": 8, "batch": 16, "device": "cpu", **options})


def kept(out):
    return sorted(p.name for p in (out / "checkpoints").iterdir())


def logged(out):
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["step"] for line in lines]


# --------------------------------------------------------------------------------- files of a run


def test_the_newest_checkpoints_are_kept(tmp_path):
    states = list(begin(make(), out=tmp_path, save_every=3, keep=2))
    written = {s.step: s.checkpoint.name for s in states if s.checkpoint}
    assert written == {k: f"step-{k:08d}.safetensors" for k in (3, 6, 8)}
    assert kept(tmp_path) == [written[6], written[8]]


def test_closing_the_generator_saves(tmp_path):
    states = begin(make(), out=tmp_path)
    last = list(islice(states, 5))[-1]
    assert not (tmp_path / "checkpoints").exists()
    states.close()
    assert kept(tmp_path) == ["step-00000005.safetensors"]
    raw = loading.load(tmp_path, "raw").state_dict()
    now = last.objective.state_dict()
    assert all(torch.equal(raw[name], now[name]) for name in now)


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = checkpoint.save(make(), tmp_path / "x.safetensors")
    before = path.read_bytes()

    def save_file(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", save_file)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(make(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_metrics_are_written_once_for_each_step(tmp_path):
    """A run that died after its checkpoint, in the middle of a line, is resumed."""
    states = begin(make(), out=tmp_path, log_every=1, save_every=3)
    list(islice(states, 5))
    metrics, before = tmp_path / "metrics.jsonl", kept(tmp_path)
    died = metrics.read_text(encoding="utf-8") + '{"step": 6, "lo'
    states.close()
    (tmp_path / "checkpoints" / "step-00000005.safetensors").unlink()
    metrics.write_text(died, encoding="utf-8")
    assert before == kept(tmp_path) == ["step-00000003.safetensors"]
    list(begin(make(), out=tmp_path, resume=tmp_path, log_every=1))
    assert logged(tmp_path) == list(range(1, 9))


def test_metrics_are_thinned_and_end_with_the_last_step(tmp_path):
    list(begin(make(), out=tmp_path, log_every=3))
    assert logged(tmp_path) == [3, 6, 8]


# ------------------------------------------------------------------------------------- divergence


class Breaks(Objective):
    """Its loss is finite until step 4, then ``bad`` of its parameter."""

    def __init__(self, bad):
        super().__init__(Point())
        self.bad = bad

    def forward(self, phase, batch, rng):
        total = self.field.where.sum()
        return (self.bad(total) if rng.step >= 3 else total.square()), {}


@pytest.mark.parametrize(
    ("what", "bad"),
    [
        ("loss", lambda v: v * float("nan")),
        ("loss", lambda v: v + float("inf")),
        ("gradient", lambda v: (v * 0).abs().sqrt()),
    ],
)
def test_what_is_not_finite_stops_before_it_does_harm(what, bad):
    objective, last = Breaks(bad), None
    with pytest.raises(Diverged, match=f"the {what} is not finite at step 4, phase 'field'"):
        for state in begin(objective):
            last = state.step, objective.field.where.detach().clone()
    assert last[0] == 3 and torch.equal(objective.field.where, last[1])


def breaking(step):
    """An objective whose loss is infinite at this step."""
    objective, calls = make("rectified"), count()
    forward = objective.forward

    def broken(*args):
        loss, logs = forward(*args)
        return loss * (math.inf if next(calls) == step else 1), logs

    objective.forward = broken
    return objective


def test_the_last_good_weights_are_saved(tmp_path):
    good = begin(make("rectified"))
    states = list(islice(good, 2))
    good.close()
    pattern = r"loss is not finite at step 3, phase 'field'; .*step-00000002\.safe.*; lower lr"
    with pytest.raises(Diverged, match=pattern):
        list(begin(breaking(2), out=tmp_path))
    assert kept(tmp_path) == ["step-00000002.safetensors"]
    header, tensors = checkpoint.read(checkpoint.file_at(tmp_path))
    assert header["step"] == 2 and all(bool(t.isfinite().all()) for t in tensors.values())
    for name, parameter in states[-1].objective.named_parameters():
        assert torch.equal(tensors[f"model/{name}"], parameter), name


def test_a_run_that_fails_in_its_first_step_leaves_its_directory_free(tmp_path):
    with pytest.raises(Diverged, match="at step 1, phase 'field'; there was nothing to save"):
        list(begin(breaking(0), out=tmp_path))
    assert not (tmp_path / "checkpoints").exists()
    assert len(list(begin(make("rectified"), out=tmp_path))) == 8


def test_a_step_that_breaks_half_way_is_not_saved(tmp_path):
    """The critic has moved when the generator's loss breaks: the last whole step is kept."""
    objective = make("gan")
    forward = objective.forward

    def broken(phase, batch, rng):
        loss, logs = forward(phase, batch, rng)
        return loss * (math.nan if phase == "generator" and rng.step >= 6 else 1), logs

    objective.forward = broken
    pattern = r"loss is not finite at step 4, phase 'generator'; .*step-00000002\.safe"
    with pytest.raises(Diverged, match=pattern):
        list(begin(objective, out=tmp_path, save_every=2))
    assert kept(tmp_path) == ["step-00000002.safetensors"]


def test_a_scaler_that_leaves_out_every_update_ends_the_training(monkeypatch):
    monkeypatch.setattr(Hardware, "step", lambda self, optimiser: False)
    steps = begin(make(), steps=30)
    with pytest.raises(Diverged, match="the gradient is not finite at step 20, phase 'field'"):
        for state in steps:
            last = state.step
    assert last == 19


# -------------------------------------------------------------------------------------- bad input

BAD = {
    "shape": ({"data": X[:, :1]}, r"got data of shape \(50, 1\); this field learns \(M, \(2,\)\)"),
    "images": ({"data": X.view(25, 2, 2)}, r"got data of shape \(25, 2, 2\)"),
    "empty": ({"data": X[:0]}, r"got data of shape \(0, 2\)"),
    "not finite": ({"data": X / 0}, "values that are not finite; remove those samples"),
    "labels": ({"data": (X, Y[:9])}, "got 50 samples and 9 labels; pass one label per sample"),
    "pieces": ({"batch": 16, "accumulate": 17}, "batch 16 is less than the 17 pieces"),
    "device": ({"device": "tpu"}, "got device 'tpu'; use auto, cpu or cuda"),
    "fp16": ({"precision": "fp16"}, "fp16 needs a GPU; use precision no or bf16"),
    "seed": ({"seed": -1}, "got seed -1"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_found_before_anything_is_written(tmp_path, kind):
    options, message = BAD[kind]
    with pytest.raises(ValueError, match=message):
        list(begin(make(), out=tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_left_as_it_is(tmp_path):
    list(begin(make(), out=tmp_path))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="has had 8 of 8 steps; ask for more steps to go on"):
        list(begin(make(), out=tmp_path, resume=tmp_path))
    with pytest.raises(ValueError, match="holds a run; resume it, or choose another output"):
        list(begin(make(), out=tmp_path))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


OTHERS = {
    "recipe": (lambda: make("edm"), "the checkpoint has recipe vp, the objective edm"),
    "labels": (lambda: make("vp", classes=2), "the checkpoint has classes None, the objective 2"),
    "option": (lambda: make("vp", beta_max=9.0), "has beta_max 20.0, the objective 9.0"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_checkpoint_of_another_objective_cannot_be_resumed(tmp_path, kind):
    other, message = OTHERS[kind]
    list(begin(make("vp"), out=tmp_path))
    before, data = logged(tmp_path), (X, Y) if kind == "labels" else X
    with pytest.raises(ValueError, match=message):
        list(begin(other(), data, out=tmp_path, resume=tmp_path, steps=9))
    assert logged(tmp_path) == before


def test_labels_beyond_the_classes_are_refused(tmp_path):
    """The label after the last would silently mean "no label"."""
    labels = torch.arange(50) % 3
    with pytest.raises(ValueError, match="got labels 0 to 2; this field knows 0 to 1"):
        list(begin(make(classes=2), data=(X, labels), out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_tensorboard_files_are_written_where_asked(tmp_path):
    pytest.importorskip("tensorboard")
    list(begin(make(), out=tmp_path, tensorboard=True, log_every=2))
    events = list((tmp_path / "tensorboard").iterdir())
    assert len(events) == 1 and b"loss/field" in events[0].read_bytes()
