"""Small runs of the commands, and what they leave."""

import json
import re
import shlex

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffode import recipes
from diffode.cli.app import run
from diffode.training.container import digest

WITHOUT_LABELS = [name for name in recipes.names() if not recipes.find(name).labels]
TINY = ["--device", "cpu", "--batch", "16", "--steps", "2", "--samples", "20"]
TINY += ["--set", "width=16", "--set", "depth=1"]
LOOSE = ["--set", "rtol=1e-2", "--set", "atol=1e-2", "--device", "cpu"]


def made(folder, *given):
    out = folder / "run"
    assert run(["train", *given, *TINY, "--out", str(out)]) == 0
    return out


def arrays(path):
    with np.load(path) as content:
        return {name: content[name] for name in content.files}


def figures(path):
    return json.loads(path.read_text(encoding="utf-8"))


def beside(given, usual):
    """The usual options and values without those that the given ones state."""
    stated = {text.partition("=")[0] for text in given if text not in ("--set", "")}
    pairs = zip(usual[::2], usual[1::2], strict=True)
    return [
        text
        for option, value in pairs
        if (value.partition("=")[0] if option == "--set" else option) not in stated
        for text in (option, value)
    ]


def hints(text):
    """The command lines that a command printed to go on with, as lists of arguments."""
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("  diffode ")]


def refused(capsys, *arguments):
    """The one line of the refusal."""
    capsys.readouterr()
    assert run([str(a) for a in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


def refused_in_full(capsys, folder, words, command, target, given, runs):
    """Hold a command to the words of its refusal, and to writing nothing.

    ``runs`` leads from a name to a run: that of the target, and those in braces in ``given``.
    """
    given = re.sub("{(.+?)}", lambda found: str(runs(found[1])), given).split()
    out = folder / "out.npz"
    assert words in refused(capsys, command, runs(target), *given, "--out", out)
    assert not list(folder.iterdir())


def edited(path, checkpoint, change):
    """The checkpoint with its header and tensors changed, and a digest that fits them."""
    tensors = load_file(checkpoint)
    with safe_open(checkpoint, "pt") as file:
        header = json.loads(file.metadata()["diffode"])
    other = change(header, tensors)
    if isinstance(other, list):
        header = other
    elif "digest" in header:
        header["digest"] = digest(header, tensors)
    save_file(tensors, path, metadata={"diffode": json.dumps(header)})
    return path


SMALL = """
fields = ["edm", "rectified", "poisson"]
data = ["moons"]
solvers = ["default", "heun", "dopri5"]
nfe = [4, 9]
tolerances = [0.3, 0.05]
seeds = [0, 1]
samples = 100
device = "cpu"

[train]
steps = 30
batch = 32
width = 16
depth = 1
save_every = 10
"""  # of a comparison


def written(folder, text=SMALL, name="small.toml"):
    """A configuration in a file."""
    path = folder / name
    path.write_text(text)
    return path
