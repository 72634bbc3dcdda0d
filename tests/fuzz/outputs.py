"""Whether a file that a command wrote is whole, finite and without the markup of its input."""

import csv
import json
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import yaml
from PIL import Image
from safetensors.numpy import load_file


def fault_of(path, arguments):
    """What is wrong with a file, or None."""
    look = LOOK.get(path.suffix)
    try:
        said = look(path, arguments) if look else None
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    return said and f"{path.name}: {said}"


def _arrays(path, arguments):
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    for name, array in found.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} has NaN or infinite values"
        if array.dtype.kind == "O":
            return f"{name} holds objects"
    wanted = _rows_asked(arguments)
    if wanted is not None and "x" in found and len(found["x"]) != wanted:
        return f"{len(found['x'])} rows, {wanted} were asked for"
    rows = {len(a) for n, a in found.items() if n in ("x", "y", "q", "status") and a.ndim}
    return f"rows {rows} in one file" if len(rows) > 1 else None


def _rows_asked(arguments):
    """How many samples a command line asks for, where it says so plainly."""
    said = [
        second if first in ("--samples", "--n") else None for first, second in pairwise(arguments)
    ]
    asked = [text for text in said if text and text.isascii() and text.isdecimal()]
    return int(asked[0]) if arguments[0] == "sample" and len(asked) == 1 else None


def _image(path, arguments):
    with Image.open(path) as image:
        image.load()


def _no_constant(text):
    raise ValueError(f"{text} in JSON")


def _json(path, arguments):
    json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)


def _lines(path, arguments):
    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=_no_constant)


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = None

    def handle_starttag(self, tag, attrs):
        if "fuzz" in tag or any("fuzz" in name for name, _ in attrs):
            self.found = f"markup of the input: {self.get_starttag_text():.200}"
        elif any(n in ("href", "src") and (v or "").startswith("javascript:") for n, v in attrs):
            self.found = "a link that is a script"


def _page(path, arguments):
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page.found


def _tensors(path, arguments):
    for name, array in load_file(path).items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} has NaN or infinite values"
    return None


LOOK = {
    ".npz": _arrays,
    ".png": _image,
    ".gif": _image,
    ".webp": _image,
    ".json": _json,
    ".jsonl": _lines,
    ".html": _page,
    ".svg": lambda path, arguments: ElementTree.parse(path) and None,
    ".yaml": lambda path, arguments: yaml.safe_load(path.read_text(encoding="utf-8")) and None,
    ".csv": lambda path, arguments: list(csv.reader(path.open(encoding="utf-8"))) and None,
    ".safetensors": _tensors,
}
