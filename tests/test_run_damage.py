"""Damaged files of a run: flipped bits, missing tensors, odd configurations, full disks, traps."""

import os
import random

import pytest
import torch
from safetensors.torch import load_file

from diffode.cli.app import run
from diffode.runs.loading import load
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.training import checkpoint
from diffode.training.checkpoint import Damaged
from diffode.training.record import logged
from tests.runs import edited, refused
from tests.test_run_files import GIVEN, POSIX, go, kept, make

# ----------------------------------------------------------------------------------------- damage


def test_every_flipped_bit_of_the_tensors_is_noticed(tmp_path):
    list(go(tmp_path, steps=2))
    path = checkpoint.file_at(tmp_path)
    whole = path.read_bytes()
    start, dice = 8 + int.from_bytes(whole[:8], "little"), random.Random(0)
    for _ in range(20):
        place = dice.randrange(start, len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << dice.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(Damaged, match="does not have the digest in its header"):
            load(path)
    path.write_bytes(whole.replace(b'\\"sigma_max\\": 80.0', b'\\"sigma_max\\": 90.0'))
    with pytest.raises(Damaged, match="does not have the digest"):
        load(path)


def _parts(path):
    """The bytes of a file, and where its header ends."""
    whole = path.read_bytes()
    return whole, 8 + int.from_bytes(whole[:8], "little")


def test_every_changed_byte_of_the_header_is_noticed(tmp_path):
    """Also those that leave its meaning as it was: its format, an exponent, the space after it."""
    objective, path = make(sigma_min=1e-5), tmp_path / "x.safetensors"
    files = (checkpoint.save(objective, path, training={"a": "b" * k}) for k in range(8))
    whole, end = next((w, e) for w, e in map(_parts, files) if w[e - 1 : e] == b" ")
    dice = random.Random(0)
    format_, exponent = whole.index(b'\\"format\\": 2') + 12, whole.index(b"1e-05") + 1
    assert whole[format_ : format_ + 1] == b"2"
    places = dict.fromkeys(range(0, end, 7), None)
    places |= {format_: ord("1"), exponent: ord("E"), end - 1: ord("\t")}
    for place, value in places.items():
        changed = bytearray(whole)
        changed[place] = changed[place] ^ 1 << dice.randrange(8) if value is None else value
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"; take another copy|version of diffode"):
            load(path)


def test_a_damaged_newest_checkpoint_is_named_and_passed_over(tmp_path, capsys):
    out = tmp_path / "run"
    plan = Plan.make("edm", "digits", steps=9, batch=16, save_every=3, width=8, device="cpu")
    execute(plan, out=out, watch=lambda state: state.step == 6)
    older, newest = (out / "checkpoints" / f"step-0000000{k}.safetensors" for k in (3, 6))
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    for command in (["train", "--resume"], ["sample"]):
        message = refused(capsys, *command, out)
        assert f"{newest} is damaged" in message and f"; {older} is sound: give that" in message
    assert run(["sample", str(older), "--n", "2", "--out", str(tmp_path / "x.npz")]) == 0
    assert run(["train", "--resume", str(older), "--samples", "20"]) == 0
    names = [f"step-0000000{k}.safetensors" for k in ("6", "6", "9")]
    assert kept(out) == [names[0], f"{names[1]}.damaged", names[2]]


def test_going_back_behind_a_sound_checkpoint_is_refused(tmp_path, capsys):
    plan = Plan.make("edm", "moons", steps=9, batch=16, save_every=3, width=8, device="cpu")
    execute(plan, out=tmp_path / "run", watch=lambda state: state.step == 6)
    older = tmp_path / "run" / "checkpoints" / "step-00000003.safetensors"
    assert "is newer than step-00000003.safetensors and sound; move it away" in refused(
        capsys, "train", "--resume", older
    )


def change(name, new=None):
    def apply(header, tensors):
        value = tensors.pop(name)
        if new is not None:
            tensors[new] = value

    return apply


MOMENT = "opt/field/field.network.outer.bias/exp_avg"
EXACT = {
    "dropped": (
        lambda h, t: [t.pop(k) for k in list(t) if k.startswith("opt/")] and None,
        "it lacks [0-9]+ tensors .opt/field/",
    ),
    "renamed": (
        change(MOMENT, MOMENT + "s"),
        rf"it lacks 1 tensors \({MOMENT}\) and has beside them 1 tensors \({MOMENT}s\)",
    ),
    "average": (
        lambda h, t: [t.pop(k) for k in list(t) if k.startswith("ema/")] and None,
        "it lacks [0-9]+ tensors .ema/",
    ),
    "more": (lambda h, t: t.update(junk=torch.ones(1)), "beside them 1 tensors .junk"),
}


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("version", [1, 2])
def test_a_resumption_wants_the_exact_tensors(tmp_path, kind, version):
    list(go(tmp_path, steps=2))
    path = checkpoint.file_at(tmp_path)
    alter, message = EXACT[kind]

    def older(header, tensors):
        if version == 1:
            for key in ("digest", "idle", "training"):
                header.pop(key)
            header["format"] = 1
        alter(header, tensors)

    edited(path, path, older)
    with pytest.raises(ValueError, match=message):
        list(go(tmp_path, resume=tmp_path))


def test_damaged_metrics_do_not_block_a_sound_checkpoint(tmp_path):
    states = go(tmp_path, log_every=1)
    for _ in range(4):
        next(states)
    states.close()
    metrics = tmp_path / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(lines[0] + b"\xff\xfe{}\n[1]\n" + lines[2] + lines[3][:-5])
    assert len(list(go(tmp_path, resume=tmp_path, log_every=1))) == 4
    assert [line["step"] for line in logged(tmp_path)] == [1, 3, 5, 6, 7, 8]


CONFIG = [
    ('"solver": "default"', '"solver": 5', "got solver = 5; input should be a valid string"),
    ('"solver": "default"', '"solver": "hen"', "no solver named 'hen'; did you mean 'heun'"),
    ('"seed": 0', '"seed": "0"', "got seed = '0'; input should be a valid integer"),
    ('"seed": 0', '"seed": -1', "got seed = -1; input should be greater than or equal to 0"),
    ('"labels": false', '"labels": 1', "got labels = 1; input should be a valid boolean"),
    ('"lr": 0.002', '"lr": "fast"', "got lr='fast'; input should be a valid number"),
    ('"width": 8', '"widht": 8', "has no option 'widht'; did you mean 'width'"),
]


def test_a_configuration_is_checked_when_it_is_read(tmp_path, capsys):
    plan = Plan.make("edm", "moons", steps=4, batch=16, width=8, device="cpu")
    execute(plan, out=tmp_path / "run", watch=lambda state: state.step == 2)
    path = tmp_path / "run" / "config.json"
    text = path.read_text()
    for old, new, message in CONFIG:
        assert old in text
        path.write_text(text.replace(old, new))
        for command in (["train", "--resume"], ["eval"]):
            assert message in refused(capsys, *command, tmp_path / "run")


# ------------------------------------------------------------------------------- full disks, traps


def test_a_full_disk_is_one_line_and_harms_nothing(tmp_path, capsys, monkeypatch):
    import safetensors.torch

    out, whole = tmp_path / "run", safetensors.torch.save_file

    def save_file(tensors, path, metadata):
        if "step-00000006" in str(path):
            raise OSError(28, "No space left on device")
        whole(tensors, path, metadata)

    monkeypatch.setattr("safetensors.torch.save_file", save_file)
    capsys.readouterr()
    given = ["--steps", "9", "--set", "save_every=3", "--out", str(out)]
    assert run(["train", *GIVEN, *given]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: cannot write {out}") and "No space left on device;" in last
    assert kept(out) == ["step-00000003.safetensors"]
    assert checkpoint.read(checkpoint.file_at(out))[0]["step"] == 3


@POSIX
def test_a_pipe_is_not_waited_for(tmp_path, capsys):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    pipe = folder / "step-00000001.safetensors"
    os.mkfifo(pipe)
    for target in (pipe, tmp_path / "run"):
        assert "is a pipe or a device" in refused(capsys, "sample", target)
    pipe.rename(tmp_path / "run" / "config.json")
    assert "has no checkpoint" in refused(capsys, "eval", tmp_path / "run")


BOMBS = {
    "depth": (lambda h, t: h["options"].update(depth=10**6), "depth 1000000 with tensors for at"),
    "width": (lambda h, t: h["options"].update(width=10**6), "width 1000000 with tensors for at"),
    "classes": (lambda h, t: h.update(classes=10**9), "classes 1000000000 with tensors for at"),
    "nested": (
        lambda h, t: h.update(shape=eval("[" * 90 + "]" * 90)),
        "is not a diffode checkpoint: its header has no spec",
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_spec_beyond_its_tensors_is_not_built(tmp_path, kind):
    alter, message = BOMBS[kind]
    path = checkpoint.save(make(), tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=message):
        load(edited(path, path, alter))


def test_headers_of_absurd_size_or_depth_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    path.write_bytes((10**12).to_bytes(8, "little") + b"{")
    with pytest.raises(Damaged, match="is damaged or not a safetensors file"):
        load(path)
    tensors = load_file(checkpoint.save(make(), path))
    for text in ("[" * 10**5, '{"format": 2, "recipe": "' + "x" * 2**21 + '"}'):
        save_file(tensors, path, metadata={"diffode": text})
        with pytest.raises(ValueError, match="its header has no spec") as caught:
            load(path)
        assert len(str(caught.value)) < 500
