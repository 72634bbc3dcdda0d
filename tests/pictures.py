"""Image files made for tests: folders of them, and files that are damaged or made to mislead."""

import struct
import zlib

import numpy as np
from PIL import Image


def picture(seed=0, size=(24, 20), mode="RGB"):
    """A smooth image of that (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def folder(root, classes=("cat", "dog"), each=8, size=(24, 20)):
    """A folder of PNG and JPEG files in a sub-folder for each class."""
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            kind = ("png", "jpg")[i % 2]
            picture(1000 * k + i, size).save(root / name / f"{i:03d}.{kind}")
    return root


def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, bits=8, colour=0, data=b"", before=b""):
    """A PNG file of that header and those compressed rows."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + rows + chunk(b"IEND", b"")
