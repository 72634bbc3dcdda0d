"""Fitted grids and the files of a comparison: JSON that is changed, bytes that are damaged."""

import json
from pathlib import Path

from tests.fuzz.dice import HOSTILE, changed
from tests.fuzz.kinds.configs import NAMES

GRID = [
    "sample moons --grid grid.json --samples 2 --out out.npz",
    "encode moons points.npz --grid grid.json --out out.npz",
]
MERGE = [
    "bench --merge compared --out merged",
    "bench --merge compared --merge compared --out new",
]


def make(dice, place):
    """A file that the package wrote, changed, and a command that reads it."""
    if dice.often(0.5):
        place.bring("grid.json")
        _change(dice, Path("grid.json"), 0.3)
        return dice.choice(GRID).split()
    place.bring("compared")
    files = sorted(p for p in Path("compared").rglob("*") if p.is_file())
    path = Path("compared/results.json")
    if dice.often(0.15):
        path = dice.choice(files)
    _change(dice, path, 0.2)
    if dice.often(0.4):
        return ["bench", "compare.toml", "--out", "compared"]
    return dice.choice(MERGE).split()


def _change(dice, path, damage):
    """Change a file: its bytes, or what it says."""
    if path.suffix != ".json" or dice.often(damage):
        path.write_bytes(dice.damaged(path.read_bytes()))
        return
    content = json.loads(path.read_text())
    for _ in range(dice.randint(1, 3)):
        content = changed(dice, content)
    text = json.dumps(content)
    if dice.often(0.3):  # a name in it leads elsewhere, or is markup
        for word in dice.some(["moons", "heun", "edm", "default", "energy", "poisson"], 2):
            text = text.replace(json.dumps(word), json.dumps(dice.choice([*HOSTILE, *NAMES])))
    path.write_text(text)
