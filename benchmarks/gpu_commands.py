"""The commands on the device: each gives there what it gives on the CPU."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.gpu_checks import Bench, Wrong, relative
from diffode import recipes, solvers
from diffode.cli.app import run
from diffode.data import load
from diffode.fields import AffineField, Field

CLOSE = 1e-3  # the differences allowed, as a share of the largest value
TINY = ["--steps", "5", "--batch", "32", "--samples", "20", "--set", "width=32"]
LOOSE = ["--set", "rtol=1e-3", "--set", "atol=1e-3"]
FEW = ["--nfe", "8"]
HALF = ["digits.npz", "--operator", "downsample:2", "--noise", "0.1", "--degrade", *FEW]
LEFT = ["digits.npz", "--mask", "half:left", "--degrade", *FEW]
UNDER = ["--guidance", "3", "--label", "3,5", *FEW]
LINES = {  # of the runs edm, plain (without labels), poisson and classifier
    "guidance": ["sample", "edm", *UNDER],
    "an interval": ["sample", "edm", *UNDER, "--interval", "0.2", "5"],
    "a weaker run": ["sample", "edm", *UNDER, "--weak", "weaker"],
    "a classifier": ["sample", "plain", *UNDER, "--classifier", "classifier"],
    "guided Poisson": ["sample", "poisson", *UNDER],
    "likelihood": ["likelihood", "edm", "--n", "8", *LOOSE],
    "hutch++": ["likelihood", "edm", "--n", "8", "--trace", "hutch++", *LOOSE],
    "likelihood of Poisson": ["likelihood", "poisson", "--n", "4", *LOOSE],
    "encode": ["encode", "edm", "digits.npz", *FEW],
    "interpolate": ["interpolate", "edm", "--pairs", "2", *FEW],
    "interpolate Poisson": ["interpolate", "poisson", "--pairs", "2", *FEW],
    "edit": ["edit", "edm", "digits.npz", "--label", "3", *FEW],
    "edit without noise": ["edit", "edm", "digits.npz", "--deterministic", *FEW],
    "PiGDM": ["restore", "edm", *HALF],
    "PiGDM of Poisson": ["restore", "poisson", *HALF],
    "TMPD": ["restore", "edm", *HALF, "--method", "tmpd"],
    "SMC": ["restore", "edm", *HALF, "--method", "smc"],
    "a guided restoration": ["restore", "edm", *HALF, "--guidance", "2", "--label", "3"],
    "inpaint": ["inpaint", "edm", *LEFT],
    "eval": ["eval", "edm", "--n", "60", *FEW],
    "fit-grid": ["fit-grid", "edm", "--steps", "5", "--pilot", "32"],
    "check": ["check", "plain"],
}
WRITTEN = {"likelihood": "--values", "eval": "", "fit-grid": "", "check": ""}  # else --out


def every_field(bench: Bench) -> str:
    """Every recipe is trained on the device, and draws there what it draws on the CPU."""
    names = [name for name in recipes.names() if name != "classifier"]

    def both(name: str) -> float:
        _train(bench, name)
        return _apart(bench, ["sample", name])

    return _each(names, both, "recipes trained and sampled")


def every_solver(bench: Bench) -> str:
    """Every solver draws on the device what it draws on the CPU."""

    def both(name: str) -> float:
        if not Path("edm").exists():
            _train(bench, "edm")
        adaptive, iterated = hasattr(solvers.get_solver(name), "rtol"), name == "implicit_adams"
        budget = ["--steps", "8"] if iterated else LOOSE if adaptive else FEW
        return _apart(bench, ["sample", "edm", "--solver", name, *budget])

    needs = {name: solvers.get_solver(name).needs for name in solvers.names()}
    usual = [name for name, kind in needs.items() if kind in (Field, AffineField)]
    return _each(usual, both, "solvers")


def every_command(bench: Bench) -> str:
    """Every command that takes a run gives on the device what it gives on the CPU.

    Arrays are compared; of `eval`, `fit-grid` and `check` it is only asked that they end well.
    """

    def both(name: str) -> float:
        if not Path("digits.npz").exists():
            np.savez("digits.npz", x=load("digits").test[torch.arange(4)].numpy())
            _train(bench, "edm", "--labels")
            _train(bench, "edm", "--labels", "--seed", "1", out="weaker")
            _train(bench, "edm", out="plain")
            _train(bench, "poisson", "--labels")
            _train(bench, "classifier")
        return _apart(bench, LINES[name])

    return _each(list(LINES), both, "command lines")


def _each(names: list[str], both: Callable[[str], float], what: str) -> str:
    """All of them, whatever fails; the largest difference.

    Raises:
        Wrong: some failed or were further off than allowed, with what each said.
    """
    found, said = {}, []
    with TemporaryDirectory() as folder, chdir(folder):
        for name in names:
            try:
                found[name] = both(name)
            except Wrong as error:
                said.append(f"{name}: {error}")
    said += [f"{name}: off by {gap:.1e}" for name, gap in found.items() if not gap <= CLOSE]
    if said:
        raise Wrong("; ".join(said))
    most = max(found, key=lambda name: found[name])
    return f"{len(found)} {what}, off by {found[most]:.1e} of their size at most ({most})"


def _train(bench: Bench, name: str, *given: str, out: str | None = None) -> None:
    """A short training on digits."""
    device = ["--device", bench.device.type]
    _run(["train", name, "digits", *given, *TINY, *device, "--out", out or name])


def _apart(bench: Bench, line: list[str]) -> float:
    """How far a command's arrays on the device are from those on the CPU."""
    option, made = WRITTEN.get(line[0], "--out"), []
    for device in dict.fromkeys(("cpu", bench.device.type)):
        out = [option, f"{device}.npz"] if option else []
        _run([*line, "--device", device, *out])
        if option:
            with np.load(f"{device}.npz") as arrays:
                made.append({k: v for k, v in arrays.items() if v.dtype.kind == "f" and v.size})
    if not made:
        return 0.0
    return max(relative(*map(torch.from_numpy, (made[-1][k], made[0][k]))) for k in made[0])


def _run(line: list[str]) -> None:
    """A command, in this process.

    Raises:
        Wrong: it failed, with the end of what it said.
    """
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = run(line)
    if code:
        raise Wrong(
            f"{' '.join(line)} ended with {code}: {' '.join(said.getvalue().split())[-200:]}"
        )
