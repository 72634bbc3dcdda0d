"""Folders of images: damaged, of other formats than named, bombs, odd names and trees."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

from tests.fuzz.dice import HOSTILE

FORMATS = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO"]
MODES = ["L", "L", "L", "RGB", "RGB", "RGBA", "LA", "P", "1", "I;16", "F", "CMYK"]
COMMANDS = [
    "data pics",
    "data pics --resize 8",
    "data pics --grey --resize 8",
    "data pics --background #ff0000",
    "data pics --out sheet.png",
    "train edm pics --resize 8 --steps 1 --batch 4 --samples 20 --set width=8 --device cpu",
    "train edm pics --dry-run",
    "explore pics",
]
SEEN = [*[0, 1, 2, 3, 4, 6, 7] * 4, 5]  # a training is slow


def make(dice, place):
    """A folder, and a command that reads it."""
    folders = dice.choice(
        [[""], [""], ["a", "b"], ["train/a", "test/a"], ["train", "test"], ["", "a"]]
    )
    size = dice.choice([(8, 8), (8, 8), (8, 8), (5, 9), (1, 1), (64, 48)])
    kind, mode = dice.choice(FORMATS), dice.choice(MODES)
    bad = dice.choice([0, 0.03, 0.3])
    for folder in folders:
        os.makedirs(f"pics/{folder}", exist_ok=True)
        for k in range(dice.choice([0, 1, 12, 24])):
            name = f"{k}.{dice.choice(FORMATS).lower() if dice.often(bad) else kind.lower()}"
            data = _image(dice, size if not dice.often(bad) else (9, 7), kind, mode)
            if dice.often(bad):
                data = dice.choice([dice.damaged, lambda d: _bomb(dice), lambda d: b""])(data)
            if dice.often(bad):
                name = dice.choice(HOSTILE).replace("/", "_")[:200] + name
            _write(f"pics/{folder}/{name}", data)
    if dice.often(0.2):
        _traps(dice, place)
    return COMMANDS[dice.choice(SEEN)].split()


def _write(path, data):
    with open(path.encode("utf-8", "surrogateescape"), "wb") as file:
        file.write(data)


def _image(dice, size, kind, mode):
    """The bytes of an image, in the next mode that its format can write."""
    rng, file = np.random.default_rng(dice.randrange(2**32)), io.BytesIO()
    image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3)).astype("u1"))
    for other in (mode, "L"):
        try:
            image.convert(other).save(file, kind)
            return file.getvalue()
        except (OSError, ValueError, KeyError):
            file = io.BytesIO()
    return b"not an image"


def _chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _bomb(dice):
    """A PNG of a few kilobytes that states many pixels, or holds much text."""
    side = dice.choice([20_000, 60_000, 2**31 - 1, 2**32 - 1, 0])
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    body = zlib.compress(bytes(2**20), 9)
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24), 9)) if dice.often(0.5) else b""
    return b"\x89PNG\r\n\x1a\n" + head + text + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _traps(dice, place):
    """Something in the folder that is no ordinary file."""
    how = dice.randrange(6)
    if how == 0:
        os.mkfifo("pics/pipe.png")
    elif how == 1:
        os.symlink("../pics", "pics/loop")
    elif how == 2:
        os.symlink("nowhere", "pics/broken.png")
    elif how == 3:
        os.symlink("/dev/zero", "pics/zero.png")
    elif how == 4:
        _write("pics/\udcff\n.png", b"x")
    else:
        os.makedirs("pics/" + "deep/" * 60)
