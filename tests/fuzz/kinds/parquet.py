"""Tables and images in parquet files: damaged bytes, odd columns, paths that lead elsewhere."""

import io
import json
import os

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from tests.fuzz.dice import HOSTILE

COMMANDS = [
    "data {file}",
    "data {file} --label-column label",
    "data {file} --resize 8 --grey",
    "train edm {file} --dry-run",
    "explore {file}",
]


def make(dice, place):
    """A file, or a folder of two, and a command that reads it."""
    data = (_images if dice.often(0.6) else _numbers)(dice)
    if dice.often(0.5):
        data = dice.damaged(data)
    file = "a.parquet"
    if dice.often(0.2):
        file = "sets"
        os.makedirs("sets/data")
        with open("sets/data/test-00000-of-00001.parquet", "wb") as other:
            other.write(_images(dice))
    with open("sets/data/train-0.parquet" if file == "sets" else file, "wb") as stream:
        stream.write(data)
    return dice.choice(COMMANDS).format(file=file).split()


def _written(columns, metadata=None):
    table, file = pa.table(columns), io.BytesIO()
    table = table.replace_schema_metadata(metadata or {})
    parquet.write_table(table, file)
    return file.getvalue()


def _labels(dice, rows):
    return dice.choice(
        [
            [k % 3 for k in range(rows)],
            [k % 3 for k in range(rows)],
            ["ab<fuzz>"[k % 3] for k in range(rows)],
            [None, *range(rows - 1)],
            [2**62] * rows,
            [0.5] * rows,
            [-1] * rows,
        ]
    )


def _numbers(dice):
    rows = dice.choice([12, 24, 24, 1])
    odd = [[float("nan")] * rows, [[1, 2]] * rows, ["x"] * rows, [None] * rows, [True] * rows]
    columns = {name: [k * (j + 2) % 7 / 3 for k in range(rows)] for j, name in enumerate("ab")}
    if dice.often(0.2):
        columns[dice.choice(HOSTILE)] = dice.choice(odd)
    return _written({**columns, "label": _labels(dice, rows)})


def _images(dice):
    rows, rng = dice.choice([12, 24, 24, 1]), np.random.default_rng(dice.randrange(2**32))
    cells = []
    for k in range(rows):
        image, file = Image.fromarray(rng.integers(0, 256, (8, 8)).astype("u1")), io.BytesIO()
        image.save(file, "PNG")
        data = dice.damaged(file.getvalue()) if dice.often(0.01) else file.getvalue()
        path = dice.choice(HOSTILE) if dice.often(0.05) else f"{k}.png"
        cells.append({"bytes": data, "path": path})
    if dice.often(0.1):
        cells[0] = dice.choice([None, {"bytes": None, "path": "../outside/secret.npy"}])
    names = dice.choice([["a", "b", "c"], ["a", "a", "b"], list(HOSTILE[:3]), 3, None])
    feature = {"label": {"_type": "ClassLabel", "names": names}, "image": {"_type": "Image"}}
    info = json.dumps({"info": {"features": feature}}).encode()
    info = dice.damaged(info) if dice.often(0.2) else info
    columns = {"image": cells, "label": _labels(dice, rows)}
    return _written(columns, {b"huggingface": info} if dice.often(0.6) else None)
