"""The folder in which cases run, and what they start from.

BASE/work       where the command is run; made anew for each case
BASE/given      runs and files that are sound, made once and copied into work when named
BASE/outside    files that no command line names; names inside files lead there
"""

import functools
import json
import os
import re
import shutil
import stat
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from diffode.cli.app import run
from tests.runs import TINY


class Place:
    """The folders of the cases."""

    def __init__(self, base):
        self.base = Path(base).resolve()
        self.work, self.given = self.base / "work", self.base / "given"
        self.outside, self.executed = self.base / "outside", self.base / "executed"
        self.given.mkdir(parents=True, exist_ok=True)
        if self.outside.exists():
            return
        self.outside.mkdir()
        np.save(self.outside / "secret.npy", np.eye(2))
        save_file({"x": np.eye(2)}, self.outside / "secret.safetensors")
        (self.outside / "canary.py").write_text(f"open({str(self.executed)!r}, 'w')\n")

    def begin(self):
        """An empty folder for a case, as the working directory."""
        os.chdir(self.base)
        shutil.rmtree(self.work, ignore_errors=True)
        self.executed.unlink(missing_ok=True)
        for path in self.outside.iterdir():
            os.utime(path, ns=(0, path.stat().st_mtime_ns))
        self.work.mkdir()
        os.chdir(self.work)

    def seen(self):
        """The files outside that were read since `begin`, by the time of it that they keep."""
        return [path for path in self.outside.iterdir() if path.stat().st_atime_ns]

    def sound(self, name):
        """The path in ``given`` of one of `GIVEN`."""
        path = self.given / name
        if not path.exists():
            before = os.getcwd()
            os.chdir(self.given)
            try:
                GIVEN[name](path)
            finally:
                os.chdir(before)
        return path

    def bring(self, *words):
        """Copy into the working directory whatever of `GIVEN` these words name."""
        for name in dict.fromkeys(part for word in words for part in re.split("[:=,]", word)):
            if name in GIVEN and not Path(name).exists():
                source = self.sound(name)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, name)

    def snapshot(self):
        """What lies in the folders: of each path what would show a change of it."""
        return {
            Path(at, name): _looks(os.lstat(os.path.join(at, name)))
            for at, folders, files in os.walk(self.base)
            for name in [*folders, *files]
        }


def _looks(found):
    if stat.S_ISDIR(found.st_mode):
        return "folder"
    return found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino


def _run(*given):
    def make(path):
        assert run(["train", *given, *TINY, "--out", str(path)]) == 0

    return make


def _by(*arguments):
    """What a command makes of the other given things."""

    def make(path):
        for word in arguments:
            if word in GIVEN:
                Place(path.parent.parent).sound(word)
        assert run([*arguments, "--out", str(path)]) == 0

    return make


def _arrays(**arrays):
    return lambda path: np.savez(path, **arrays)


def _text(text):
    return lambda path: path.write_text(text)


def _pipeline(path):
    from tests.pipelines import ddim, saved

    saved(path, ddim())


def _latent_pipeline(path):
    """One of latents with labels and a decoder."""
    from tests.pipelines import DiTPipeline, autoencoder, ddim, transformer

    DiTPipeline(transformer(), autoencoder(), ddim()).save_pretrained(path)


@functools.cache
def _numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


_LABELS = np.arange(12) % 3
GIVEN = {
    "moons": _run("edm", "moons"),
    "digits": _run("edm", "digits", "--labels"),
    "poisson": _run("pfgm", "moons"),
    "judge": _run("classifier", "digits"),
    "points.npz": _arrays(x=_numbers(12, 2), y=_LABELS),
    "points.npy": lambda path: np.save(path, _numbers(12, 2)),
    "images.npz": _arrays(x=_numbers(12, 1, 8, 8).clip(-1, 1), y=_LABELS),
    "bytes.npz": _arrays(x=(_numbers(12, 8, 8) * 40 + 100).astype(np.uint8), y=_LABELS),
    "table.csv": _text("a,b,c\n" + "".join(f"{k},{k * k % 7}.5,{k % 3}\n" for k in range(14))),
    "mask.npy": lambda path: np.save(path, np.eye(8, dtype=np.int64)),
    "latents.npz": _by("encode", "moons", "points.npz", "--solver", "heun", "--nfe", "3"),
    "grid.json": _by("fit-grid", "moons", "--pilot", "8", "--steps", "3"),
    "options.toml": _text('field = "edm"\ndata = "moons"\nsteps = 2\nbatch = 16\nlr = 0.002\n'),
    "options.yaml": _text("field: edm\ndata: moons\nsteps: 2\nset:\n  width: 16\n"),
    "options.json": lambda path: path.write_text(json.dumps({"field": "vp", "steps": 2})),
    "compare.toml": _text(
        'fields = ["edm"]\ndata = ["moons"]\nsolvers = ["heun"]\nnfe = [4]\nseeds = [0]\n'
        'samples = 60\ndevice = "cpu"\n[train]\nsteps = 2\nbatch = 16\nwidth = 16\ndepth = 1\n'
    ),
    "compared": _by("bench", "compare.toml"),
    "pipe": _pipeline,
    "latent": _latent_pipeline,
    "features.safetensors": _by("features", "digits", "--set", "epochs=1"),
    "own.py": _text("from diffode.fields import Empirical, VP\nimport torch\n\n\n"
                    "def field():\n    return Empirical(torch.eye(2), VP())\n\n\n"
                    "def broken():\n    raise KeyError('missing')\n"),
    "broken.py": _text("def field(:\n"),
    "empty": lambda path: path.mkdir(),
}  # fmt: skip
