"""Command lines: a sound one of each command, with options of the tree put in and taken out.

Commands, options and the types of their values are read from the tree itself, so a new option is
tried by being there.
"""

import re
from pathlib import Path

from typer.main import get_command

from diffode import data, recipes, solvers
from diffode.cli.app import app
from tests.fuzz.dice import HOSTILE, HUGE
from tests.fuzz.sandbox import GIVEN
from tests.pages import small

COMMANDS = get_command(app).commands
LINES = {
    "train": [
        "edm moons",
        "poisson digits --labels",
        "vp points.npz",
        "rectified table.csv",
        "monoflow moons",
        "gan moons",
        "classifier digits",
        "masked dna",
        "edm --config options.toml",
        "--config options.yaml",
        "--config options.json",
        "--resume moons",
        "interpolant points.npz --prior-data moons",
    ],
    "sample": [
        "moons",
        "digits --label 1",
        "poisson",
        "own.py:field",
        "digits --classifier judge",
    ],
    "fit-grid": ["moons --steps 3", "poisson --steps 2"],
    "likelihood": ["moons", "digits"],
    "convert": ["points.npz", "moons"],
    "tour": ["--data moons --field edm"],
    "eval": ["moons --samples 20", "digits --samples 20"],
    "bench": ["compare.toml", "moons --nfe 4", "--field edm --data moons"],
    "features": ["digits"],
    "check": ["broken.py:field", "own.py:broken"],
    "explore": ["moons", "points.npz"],
    "export": ["digits folder", "moons folder"],
    "options": ["edm", "--solver heun"],
    "data": ["moons", "points.npz", "images.npz", "table.csv"],
    "distil": ["moons --nfe 1"],
    "encode": ["moons points.npz", "digits images.npz", "poisson points.npz"],
    "decode": ["moons latents.npz", "moons points.npz"],
    "interpolate": ["moons points.npz", "digits --pairs 1 --count 3"],
    "edit": ["digits images.npz --label 1", "moons points.npz"],
    "plot": ["moons", "edm --data moons --kind density", "digits", "moons --kind loss"],
    "animate": ["moons"],
    "reflow": ["moons"],
    "restore": ["digits images.npz --operator downsample:2 --noise .1 --degrade"],
    "inpaint": ["digits images.npz --mask half:left", "digits test --mask mask.npy"],
}  # beginnings that are sound; of a command that is not here, its arguments are drawn
RARE = {"train", "bench", "distil", "reflow", "plot", "animate", "tour", "check", "export"}  # slow
DRY = {"train", "bench"}
WAITS = {"serve"}  # options of commands that end when they are interrupted
TIME = {"steps", "minutes", "seconds", "epochs", "nfe"}  # of which more is only more time
NUMBERS = ["-1", "0", "1", "2", "3", "5", "1.5", "-0", "+4", "1_0", " 3", "\u0663", "0x10", "1e3"]
FLOATS = [".5", "1", "-1", "0", "1e300", "1e-320", "nan", "inf", "-inf", "1e400", "0.5.5"]
TARGETS = [
    "moons",
    "digits",
    "poisson",
    "judge",
    "own.py:field",
    "own.py:broken",
    "broken.py:field",
]
TARGETS += [
    "own.py:none",
    "own.py",
    "os:system",
    "empty",
    "points.npz",
    "hf:nobody/nothing",
    "edm",
]
DATA = [*data.names(), "points.npz", "points.npy", "images.npz", "bytes.npz", "table.csv", "empty"]
DATA += ["test", "train", "moons", "moons/config.json", "features.safetensors", "mask.npy"]
OUT = ["out.npz", "out.png", "out.json", "out.html", "out", "new/out.npz", "out.svg", "out.pdf"]
OUT += ["points.npz", "points.npz/out.png", "moons", "/dev/full", "/dev/null", "o" * 300 + ".png"]
OUT += ["out.gif", "out.webp", "out.csv", ".npz", "out.safetensors", "\u00e9\udcff.png", "a b.npz"]
SETS = ["rtol=.1", "atol=.1", "rtol=nan", "rtol=0", "lr=inf", "lr=.001", "batch=4", "batch=0"]
SETS += ["width=8", "width=-1", "depth=0", "ema=2", "ema=nan", "eta=1", "eta=nan", "order=3"]
SETS += ["order=99", "save_every=1", "log_every=1", "flip=true", "sigma_max=0", "sigma_min=1e9"]
SETS += ["dof=2", "dof=nan", "coupling=ot", "epochs=1", "churn=1", "=", "a", "a=", "=a", "lr=1,2"]
WORDS = {
    "field": [*recipes.names(), "sde", "ddim"],
    "solver": [*solvers.names(), "heun:order=2", "dopri5:rtol=.1,atol=.1", "heun:"],
    "device": ["cpu", "auto", "cuda", "cuda:9", "mps", "meta"],
    "label": ["0", "1", "0,1", "all", "99", "-1", "0,,1", "1.0", "zero"],
    "grid": [
        "native",
        "logsnr",
        "karras",
        "theta",
        "own",
        "grid.json",
        "options.json",
        "points.npz",
    ],
    "set": SETS,
    "out": OUT,
    "values": OUT,
    "target": TARGETS,
    "data": DATA,
    "config": [
        "options.toml",
        "options.yaml",
        "options.json",
        "compare.toml",
        "moons/config.json",
    ],
    "file": [
        "points.npz",
        "points.npy",
        "images.npz",
        "bytes.npz",
        "latents.npz",
        "moons",
        "test",
    ],
    "mask": ["half:left", "box:1,1,3,3", "random:.5", "mask.npy", "random:nan", "box:-1,0,99,2"],
    "operator": [
        "downsample:2",
        "blur:3",
        "blur:0",
        "matrix:points.npy",
        "mask:half:top",
        "blur:1e9",
    ],
    "features": [
        "pixels",
        "pca",
        "classifier",
        "features.safetensors",
        "inception",
        "own.py:field",
    ],
    "metric": ["own.py:field", "frechet", "w2", "nothing"],
    "kind": ["samples", "paths", "field-lines", "density", "strip", "section", "loss"],
    "axes": ["0,1", "1,0", "0,0", "0,9", "0", "a,b", "-1,0"],
    "times": ["1", "1,.5,.1", "nan", ".1,.5", "80,1", ","],
    "budget": ["heun@4", "heun@0", "heun", "@", "heun@x"],
    "levels": ["256", "2", "17:-1:1", "0", "2:0:0", "a:b:c", "3:1"],
    "network": ["mlp", "unet", "dit", "own.py:field", "nothing"],
    "columns": ["a,b", "a", "a,a", "", "z", "c"],
    "label-column": ["c", "a", "z", ""],
    "layout": ["points", "signals", "images", "channels-last", "auto"],
    "scale": ["pixels", "standard", "none", "auto"],
    "trace": ["exact", "hutchinson", "hutch++"],
    "method": ["pigdm", "tmpd", "smc"],
    "weights": ["ema", "raw"],
    "final": ["none", "denoise"],
    "format": ["diffusers", "onnx"],
    "background": ["white", "#000", "nothing", "rgb(1,2"],
    "objective": ["consistency", "meanflow", "regression"],
}  # values that may be right, by the option's name
ALIKE = {
    "first": "field",
    "second": "data",
    "source": "data",
    "prior-data": "data",
    "what": "target",
    "run": "target",
    "weak": "target",
    "classifier": "target",
    "resume": "target",
    "merge": "target",
    "pairs": "file",
    "source-label": "label",
    "parameters": "weights",
    "folder": "out",
}


def make(dice, place):
    """A sound line, changed in a few places."""
    names = [name for name in COMMANDS for _ in range(1 if name in RARE else 4)]
    command = dice.choice(names)
    options = [p for p in COMMANDS[command].params if p.param_type_name == "option"]
    options = [option for option in options if option.name not in WAITS]
    words = dice.choice(LINES.get(command, [""])).split() or _arguments(dice, command)
    for option in dice.some(options, 3) if options else []:
        values, name = _value(dice, option), dice.choice([*option.opts, *option.secondary_opts])
        words = _without(words, option) if dice.often(0.95) else words
        joined = len(values) == 1 and dice.often(0.3)
        words += [f"{name}={values[0]}"] if joined else [name, *values]
    if dice.often(0.1):
        words = _shaken(dice, words)
    if command in DRY and dice.often(0.8) and "--dry-run" not in words:
        words.append("--dry-run")
    if dice.often(0.3):
        _taken(dice, words)
    return small([command, *words]) if words else [command]


def _without(words, option):
    """The words without an option that is given once."""
    left = list(words)
    for k, word in enumerate(words):
        if word in (*option.opts, *option.secondary_opts) and not option.multiple:
            del left[k : k + 1 + (0 if option.is_flag else option.nargs)]
    return left


def _arguments(dice, command):
    made = COMMANDS[command].params
    return [w for p in made if p.param_type_name == "argument" for w in _value(dice, p)]


def _value(dice, parameter):
    """The words of a value: as many as it takes; right by its name or its type, or odd."""
    if getattr(parameter, "is_flag", False):
        return []
    name = parameter.opts[-1 if parameter.name == "assignments" else 0].strip("-")
    name = ALIKE.get(name, name)
    kind, usual = str(getattr(parameter.type_descriptor, "annotation", "")), dice.often(0.6)
    pool = WORDS.get(name, [])
    if name in ("out", "values"):  # with the ending that the help names
        ends = re.findall(r"\.[a-z]\w+", parameter.help or "") if usual else []
        pool = [f"{stem}{end}" for end in ends for stem in ("out", "a b", "new/out")] or pool
    elif "int" in kind:
        pool = [*pool, *(NUMBERS[2:6] if usual else [*NUMBERS, *_huge(name)])]
    elif "float" in kind:
        pool = [*pool, *(FLOATS[:4] if usual else FLOATS)]
    elif "Path" in kind:
        pool = [*pool, *(GIVEN if usual else [*OUT, "missing.npz", "/dev/zero"])]
    if not pool or dice.often(0.07):
        pool = [*HOSTILE, "--", "-x", "a=b", "\udcff", *TARGETS]
    return [dice.choice(pool) for _ in range(max(1, parameter.nargs))]


def _huge(name):
    return [] if name in TIME else map(str, HUGE[2:])


def _shaken(dice, words):
    """The words with one left out, doubled, exchanged or put in."""
    words, k = list(words), dice.randrange(len(words) + 1)
    how = dice.randrange(4)
    if how == 0 and words:
        del words[k - 1]
    elif how == 1 and words:
        words.insert(k, words[k - 1])
    elif how == 2 and len(words) > 1:
        words[k - 1], words[k - 2] = words[k - 2], words[k - 1]
    else:
        words.insert(k, dice.choice(["--help", "--", "-", "--se", "extra", "--version", *HOSTILE]))
    return words


def _taken(dice, words):
    """Let a file be at the place of the output already."""
    if "--out" in words[:-1]:
        out = Path(words[words.index("--out") + 1])
        if out.name == str(out) and out.suffix and len(str(out)) < 200 and str(out) not in GIVEN:
            out.write_bytes(b"before")
