"""Images in IDX files, plain or gzipped, with heads that lie and bytes that are damaged."""

import gzip
import os
import struct

import numpy as np

COMMANDS = [
    *["data {set}"] * 10,
    *["data {set} --out sheet.png"] * 5,
    *["train edm {set} --dry-run"] * 5,
    "train edm {set} --labels --steps 1 --batch 4 --samples 20 --set width=8 --device cpu",
]
PARTS = [("train", 24), ("t10k", 12)]


def make(dice, place):
    """A folder of four files, and a command that reads it."""
    folder = dice.choice(["fashion-mnist", "digits-idx"])
    os.makedirs(folder)
    side = dice.choice([(8, 8), (8, 8), (5, 3), (28, 28), (0, 8), (1, 1)])
    for part, rows in PARTS:
        rng = np.random.default_rng(dice.randrange(2**32))
        pixels = rng.integers(0, 256, (rows, *side)).astype("u1")
        labels = np.arange(rows, dtype="u1") % dice.choice([3, 10, 255])
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            _write(dice, f"{folder}/{part}-{kind}-ubyte", array)
    return dice.choice(COMMANDS).format(set=folder).split()


def _write(dice, path, array):
    if dice.often(0.03) and "fashion" not in path:  # that set may be on the machine
        return
    shape, kind = list(array.shape), 8
    if dice.often(0.1):
        shape[dice.randrange(len(shape))] = dice.choice([0, 1, 7, 2**31, 2**32 - 1])
    if dice.often(0.04):
        kind = dice.choice([9, 11, 13, 0])
    head = bytes((0, 0, kind, dice.choice([1, 2, 3, 4, 200]) if dice.often(0.04) else array.ndim))
    data = head + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()
    if dice.often(0.08):
        data = dice.damaged(data)
    if dice.often(0.01):
        data = head + struct.pack(f">{len(shape)}I", *shape) + bytes(2**28)
    if dice.often(0.5):
        data, path = gzip.compress(data, mtime=0), f"{path}.gz"
        if dice.often(0.06):
            data = dice.damaged(data)
    with open(path, "wb") as file:
        file.write(data)
