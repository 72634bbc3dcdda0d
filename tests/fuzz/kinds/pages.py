"""Names in files that end in pages: of columns, classes, runs and options, with markup in them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from diffode.training import checkpoint, container
from tests.fuzz.dice import HOSTILE, with_its_data

MARKUP = [text for text in HOSTILE if text.strip("./ ")]
TRAIN = "--steps 1 --batch 4 --samples 20 --set width=8 --set depth=1 --device cpu"


def make(dice, place):
    """A file or a run with such names, and a command that shows them."""
    return dice.choice([_classes, _classes, _columns, _columns, _folder, _run, _run, _compared])(
        dice, place
    )


def _named(dice, name):
    """A name of a file or a folder that says something else to a browser."""
    text = dice.choice(MARKUP).replace("/", "_")[:100]
    return f"{text}{name}"


def _classes(dice, place):
    names = dice.sample(MARKUP, 3)
    x, file = np.random.default_rng(0).normal(size=(24, 2)), _named(dice, ".npz")
    np.savez(file.lstrip("-"), x=x, y=np.arange(24) % 3, classes=np.array(names))
    return _shown(dice, file.lstrip("-"))


def _columns(dice, place):
    names = [text.replace("\n", " ").replace(",", "") for text in dice.sample(MARKUP, 3)]
    rows = [f"{k},{k * k % 7},{k % 5}" for k in range(24)]
    head = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    file = _named(dice, ".csv").lstrip("-")
    Path(file).write_text("\n".join([head, *rows]) + "\n")
    return _shown(dice, file)


def _folder(dice, place):
    folder, rng = Path(_named(dice, "pics").lstrip("-")), np.random.default_rng(0)
    for name in dice.sample(MARKUP, 2):
        inner = folder / name.replace("/", "_")[:100]
        inner.mkdir(parents=True, exist_ok=True)
        for k in range(12):
            Image.fromarray(rng.integers(0, 256, (8, 8)).astype("u1")).save(inner / f"{k}.png")
    return _shown(dice, str(folder))


def _shown(dice, data):
    how = dice.random()
    if how < 0.6:
        return ["data", data]
    if how < 0.97:
        return ["explore", data]
    return ["train", "edm", data, *TRAIN.split(), "--out", _named(dice, "run").lstrip("-")]


def _run(dice, place):
    """A run whose names were changed, in a folder of an odd name."""
    place.bring("digits")
    run = Path(_named(dice, "run").lstrip("-"))
    Path("digits").rename(run)
    for path in (run / "config.json", run / "quality.json"):
        content = json.loads(path.read_text())
        key = dice.choice([k for k, v in content.items() if isinstance(v, str)] or ["data"])
        stored, content = content, content | {key: dice.choice(MARKUP)}
        path.write_text(json.dumps(with_its_data(content, stored)))
    if dice.often(0.3):
        newest = checkpoint.newest(run)
        header, tensors = container.read(newest)
        header.pop("digest")
        header["training"][dice.choice(["data", "x", "fingerprint"])] = dice.choice(MARKUP)
        container.write(newest, header, tensors)
    line = dice.choice(
        ["explore {run}"] * 6 + ["plot {run} --nfe 3 --out a.svg", "export {run} folder"]
    )
    return [word.format(run=run) for word in line.split()]


def _compared(dice, place):
    """The results of a comparison in which names were exchanged for markup, as one page."""
    place.bring("compared")
    path = Path("compared/results.json")
    text, wanted = path.read_text(), dice.some(["moons", "heun", "edm", "energy", "cpu"], 3)
    for word in wanted:
        text = text.replace(json.dumps(word), json.dumps(dice.choice(MARKUP)))
    content = json.loads(text)
    for part in (content["configs"], *content["metrics"].values()):
        for entry in part:
            key = dice.choice([k for k, v in entry.items() if isinstance(v, str)] or ["about"])
            entry[key] = dice.choice(MARKUP)
    path.write_text(json.dumps(content))
    return ["bench", "--merge", "compared", "--out", "merged"]
