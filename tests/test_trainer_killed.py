"""A training that ends between two files of a step, or finds other things in their place."""

import os
import shutil
from itertools import islice
from types import SimpleNamespace

import pytest

from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.training import checkpoint, record
from tests.test_trainer_stops import begin, kept, logged, make


def test_a_checkpoint_never_lacks_the_metrics_of_its_step(tmp_path, monkeypatch):
    """A process that dies when a checkpoint is whole goes on with every line."""

    class Died(BaseException):
        pass

    def save(*given, **options):
        path = checkpoint.save(*given, **options)
        if options["step"] == 4:
            raise Died
        return path

    with monkeypatch.context() as patch:
        patch.setattr(record, "checkpoint", SimpleNamespace(**vars(checkpoint) | {"save": save}))
        with pytest.raises(Died):
            list(begin(make(), out=tmp_path, log_every=1, save_every=2))
    list(begin(make(), out=tmp_path, resume=tmp_path, log_every=1, save_every=2))
    assert logged(tmp_path) == list(range(1, 9))


def test_a_finished_run_drops_the_checkpoint_that_it_had_no_time_to_drop(tmp_path):
    plan = Plan.make("edm", "moons", steps=6, batch=16, width=8, save_every=2, device="cpu")
    execute(plan, out=tmp_path)
    newest = kept(tmp_path)
    older = tmp_path / "checkpoints" / "step-00000002.safetensors"
    shutil.copy(older.with_name(newest[0]), older)
    execute(Plan.read(tmp_path), out=tmp_path, resume=True)
    assert kept(tmp_path) == newest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_metrics_are_added_to_an_ordinary_file_alone(tmp_path, kind):
    """A link leads elsewhere, and a pipe that nobody reads would hold the training for ever."""
    victim, out = tmp_path / "victim", tmp_path / "run"
    victim.write_text("theirs")
    states = begin(make(), out=out, log_every=1, save_every=2)
    list(islice(states, 3))
    metrics = out / "metrics.jsonl"
    metrics.unlink()
    metrics.symlink_to(victim) if kind == "link" else os.mkfifo(metrics)
    with pytest.raises(ValueError, match=r"metrics.jsonl is no ordinary file any more; move it"):
        list(states)
    assert victim.read_text() == "theirs" and kept(out) == ["step-00000002.safetensors"]
