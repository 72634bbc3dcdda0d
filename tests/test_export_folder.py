"""The folder of an export: whole or absent, with a card; what cannot be exported is refused."""

import json
import resource
import subprocess
import sys

import pytest
import torch
import yaml

import diffode
from diffode.cli.app import run
from diffode.data import Dataset, load
from diffode.data.scaling import Scaling
from diffode.export import pipeline
from diffode.fields import Mixture
from diffode.files import _machine, replacing_folder
from diffode.interop import from_diffusers, to_diffusers
from tests.exports import PLAIN, SMALL, stirred
from tests.runs import refused


def test_a_folder_runs_no_code_that_it_names(tmp_path):
    from diffusers import DiffusionPipeline

    path, _ = stirred(tmp_path, "vp", **SMALL)
    to_diffusers(path, tmp_path / "pipe")
    stated = tmp_path / "pipe/unet/config.json"
    config, mine = json.loads(stated.read_text()), tmp_path / "mine.py"
    mine.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nNet = None\n")
    config["options"]["network"] = f"{mine}:Net"
    stated.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="is code, which is run only where you say so"):
        DiffusionPipeline.from_pretrained(tmp_path / "pipe")
    assert not (tmp_path / "ran").exists()


def checkpoints(folder):
    """Checkpoints that cannot be exported, what is said of them, and further arguments."""
    small, unit = SMALL, Scaling("standard", torch.tensor(3.0), torch.tensor(2.0))
    strict = {**small, "label_drop": 0.0}
    return {
        "the noise is StudentT(dof=128); schedulers of diffusers": ("pfgmpp", {}, []),
        "schedulers of diffusers start from normal noise": ("poisson", {}, []),
        "the noise is Ball(width=8.12404)": ("radial", {"law": "ball"}, []),
        "a MonoFlow has no level of noise": ("monoflow", {}, []),
        "got events of shape (2,); pipelines of diffusers draw images": (
            "edm",
            {"shape": (2,)},
            [],
        ),
        "the units are standard: 1 ... 5 as -1 ... 1; pictures": ("vp", {"scaling": unit}, []),
        "trained with label_drop=0 and has no null label": ("ve", {"classes": 3, **strict}, []),
        "it is centred, and diffusers knows no mean: train with --set centre=false": (
            "ddpm",
            {**PLAIN, "centre": True},
            ["--plain"],
        ),
        "cannot be sampled without diffode: its network answers with neither": (
            "subvp",
            PLAIN,
            ["--plain"],
        ),
        "got --format onnx; wanted diffusers": ("rectified", {}, ["--format", "onnx"]),
    }


def test_what_cannot_be_exported_is_refused_in_a_line(tmp_path, capsys):
    for k, (words, (recipe, options, given)) in enumerate(checkpoints(tmp_path).items()):
        (tmp_path / str(k)).mkdir()
        path, _ = stirred(tmp_path / str(k), recipe, **{**SMALL, **options})
        assert words in refused(capsys, "export", path, tmp_path / "out", *given)
    (tmp_path / "taken").mkdir()
    assert "taken is there already" in refused(capsys, "export", path, tmp_path / "taken")
    (tmp_path / "mine.py").write_text("from tests.test_export_folder import mixture as it\n")
    code = f"{tmp_path / 'mine.py'}:it"
    assert "is no run and no checkpoint; export wants" in refused(
        capsys, "export", code, tmp_path / "out"
    )
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def mixture():
    means = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    return Mixture(torch.ones(2), means, torch.ones(2), diffode.fields.VP())


def test_a_run_leaves_a_card_with_its_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = Dataset("blobs | of | mine", load("digits").train[:40], load("digits").test[:20])
    diffode.fit("edm", data, out="run", steps=1, batch=8, device="cpu", **SMALL)
    figures = {"metrics": {"W2": {"value": 3.25, "stderr": 0.5}}, "floor": {"W2": {"value": 1.5}}}
    (tmp_path / "run/quality.json").write_text(json.dumps(figures))
    assert run(["export", "run", "pipe", "--format", "diffusers"]) == 0
    assert "import diffode.interop before it is loaded" in capsys.readouterr().out
    card = (tmp_path / "pipe/README.md").read_text(encoding="utf-8")
    _, head, body = card.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["license"] is None and metadata["library_name"] == "diffusers"
    assert "import diffode.interop" in body and 'from_pretrained("pipe")' in body
    assert "| W2 | 3.25 +- 0.5 | 1.5 |" in body and "40 images" in body
    assert "| of |" not in body, "a name from outside is no markup"


def test_an_export_that_is_stopped_leaves_nothing(tmp_path, monkeypatch):
    path, _ = stirred(tmp_path, "rectified", **SMALL)

    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "write_card", stopped)
    with pytest.raises(KeyboardInterrupt):
        to_diffusers(path, tmp_path / "pipe")
    assert [p.name for p in tmp_path.iterdir()] == ["rectified.safetensors"]


def test_an_export_that_is_killed_leaves_no_folder_and_the_next_is_whole(tmp_path):
    """Killed at its last step, by a signal that no process can catch."""
    path, _ = stirred(tmp_path, "rectified", **PLAIN)
    content = path.read_bytes()
    code = (
        "import sys, time\n"
        "from diffode.export import pipeline\n"
        "pipeline.write_card = lambda *given: (print('here', flush=True), time.sleep(60))\n"
        "pipeline.to_diffusers(*sys.argv[1:])\n"
    )
    begun = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(tmp_path / "pipe")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert begun.stdout.readline() == "here\n"
    begun.kill()
    begun.communicate()
    (left,) = [p for p in tmp_path.iterdir() if p != path]
    assert left.name.startswith(".pipe.") and path.read_bytes() == content
    to_diffusers(path, tmp_path / "pipe")
    assert {p.name for p in tmp_path.iterdir()} == {path.name, "pipe"}
    assert from_diffusers(tmp_path / "pipe").event_shape == (1, 8, 8)


def interrupted(monkeypatch, by):
    """Something else happens while an export writes its card."""
    whole = pipeline.write_card

    def both(*given):
        whole(*given)
        by()

    monkeypatch.setattr(pipeline, "write_card", both)


def test_of_two_exports_into_one_name_the_first_stays(tmp_path, monkeypatch):
    path, _ = stirred(tmp_path, "rectified", **PLAIN)
    other = tmp_path / "pipe/model_index.json"

    def faster():
        other.parent.mkdir()
        other.write_text("theirs")

    interrupted(monkeypatch, faster)
    with pytest.raises(ValueError, match="is there already; give another name"):
        to_diffusers(path, tmp_path / "pipe")
    assert other.read_text() == "theirs" and not list(tmp_path.glob(".*"))


def test_a_run_that_changes_while_it_is_exported_is_not_written(tmp_path, monkeypatch):
    path, _ = stirred(tmp_path, "rectified", **PLAIN)
    interrupted(monkeypatch, lambda: stirred(tmp_path, "rectified", **PLAIN))
    with pytest.raises(ValueError, match="changed while it was exported"):
        to_diffusers(path, tmp_path / "pipe")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_written_is_told_with_its_name(tmp_path):
    path, _ = stirred(tmp_path, "rectified", **PLAIN)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, usual[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*pipe: File too large; nothing was"):
            to_diffusers(path, tmp_path / "pipe")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    with pytest.raises(ValueError, match="wanted printable characters"):
        to_diffusers(path, tmp_path / "two\nlines")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_a_killed_export_left_is_swept_by_the_next(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".pipe.{_machine()}-{dead.pid}.tmp"
    (left / "unet").mkdir(parents=True)
    (left / "unet/half").write_text("written")
    with replacing_folder(tmp_path / "other") as made:
        (made / "whole").write_text("all of it")
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


def test_a_folder_that_says_something_else_than_the_field_is_not_written(tmp_path, monkeypatch):
    path, _ = stirred(tmp_path, "vp", **SMALL)
    told = pipeline.answer
    monkeypatch.setattr(pipeline, "answer", lambda *given: 1.001 * told(*given))
    with pytest.raises(ValueError, match=r"differs from the field by 0\.001 of its largest value"):
        to_diffusers(path, tmp_path / "pipe")
    assert not (tmp_path / "pipe").exists()
