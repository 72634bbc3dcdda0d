"""Make a labelled RGB data set of emoji, one .npz file, from the npm package of OpenMoji.

    pip install resvg-py pillow
    npm pack openmoji@17.0.0
    python scripts/openmoji.py openmoji-17.0.0.tgz openmoji-32.npz --size 32
    diffode train edm openmoji-32.npz

Every SVG is drawn on white at four times the size and averaged over squares of 4x4 pixels. The
classes are the groups of Unicode and OpenMoji. A tenth of the emoji is the test split, chosen by a
checksum of their codes without the skin tone: the tones of one emoji stay together. Of images that
are equal to the last byte the first is kept. The same package gives the same file.

The images are by OpenMoji, https://openmoji.org, licence CC BY-SA 4.0; so is the file.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from diffode.files import replacing

FETCH = "get the package with: npm pack openmoji@17.0.0"
LICENCE = "All emojis designed by OpenMoji (https://openmoji.org), licence CC-BY-SA-4.0"
FINER = 4  # drawn at so many times the size
Array = np.ndarray[Any, np.dtype[Any]]


def files(package: Path) -> dict[str, bytes]:
    """The list of emoji and the SVGs of a package, by their paths in it.

    Arguments:
        package: the .tgz, which is not unpacked to disk, or the folder that it unpacks to.

    Raises:
        ValueError: no package of OpenMoji.
    """
    try:
        found = dict(_of_folder(package) if package.is_dir() else _of_archive(package))
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{package} cannot be read ({type(error).__name__}); {FETCH}") from None
    if "data/openmoji.json" not in found:
        raise ValueError(f"{package} has no data/openmoji.json; {FETCH}")
    return found


def _of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    root = folder / "package" if (folder / "package").is_dir() else folder
    for path in (root / "data" / "openmoji.json", *sorted((root / "color" / "svg").glob("*.svg"))):
        if path.is_file():
            yield path.relative_to(root).as_posix(), path.read_bytes()


def _of_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix("package/")
            if name == "data/openmoji.json" or re.fullmatch(r"color/svg/[^/]+\.svg", name):
                stream = archive.extractfile(member)
                if stream is not None:
                    yield name, stream.read()


def drawn(svg: bytes, size: int) -> Array:
    """The pixels of an SVG on white, squared, shape (3, size, size), uint8."""
    import resvg_py
    from PIL import Image

    side = FINER * size
    png = resvg_py.svg_to_bytes(
        svg_string=svg.decode(), width=side, height=side, background="#ffffff",
        skip_system_fonts=True,
    )  # fmt: skip
    image = Image.open(io.BytesIO(bytes(png))).convert("RGB")
    page = Image.new("RGB", (side, side), (255, 255, 255))
    page.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(page.reduce(FINER)).transpose(2, 0, 1)


def is_test(code: str) -> bool:
    """Whether an emoji is in the test split; skin tones take no part."""
    return zlib.crc32(re.sub("-1F3F[B-F]", "", code).encode()) % 10 == 0


def dataset(package: Path, size: int) -> tuple[dict[str, Array], int]:
    """The arrays of the file, and how many equal images were dropped.

    Arguments:
        package: a .tgz or a folder.
        size: of the images, in pixels.

    Raises:
        ValueError: no package of OpenMoji.
    """
    found = files(package)
    rows = [r for r in json.loads(found["data/openmoji.json"]) if _svg(r["hexcode"]) in found]
    classes = sorted({r["group"] for r in rows})
    kept: dict[bytes, tuple[Array, int, bool]] = {}
    for row in track(rows, f"drawing at {size}x{size}"):
        pixels = drawn(found[_svg(row["hexcode"])], size)
        entry = pixels, classes.index(row["group"]), is_test(row["hexcode"])
        kept.setdefault(pixels.tobytes(), entry)
    arrays = {}
    for end, wanted in (("", False), ("_test", True)):
        part = [(pixels, y) for pixels, y, test in kept.values() if test == wanted]
        if not part:
            raise ValueError(f"{package} has too few emoji for two splits; {FETCH}")
        arrays[f"x{end}"] = np.stack([pixels for pixels, _ in part])
        arrays[f"y{end}"] = np.array([y for _, y in part])
    arrays |= {"classes": np.array(classes), "licence": np.array(LICENCE)}
    return arrays, len(rows) - len(kept)


def _svg(code: str) -> str:
    return f"color/svg/{code}.svg"


def main(arguments: list[str] | None = None) -> None:
    """Make the file and say what is in it."""
    parser = argparse.ArgumentParser(
        description=f"A data set of emoji from the npm package of OpenMoji; {FETCH}."
    )
    parser.add_argument("package", type=Path, help="openmoji-17.0.0.tgz, or the folder of it")
    parser.add_argument("out", type=Path, help="the .npz file to write")
    parser.add_argument("--size", type=int, choices=(16, 32, 64, 128), default=32)
    asked = parser.parse_args(arguments)
    if asked.out.suffix != ".npz":
        parser.error(f"got {asked.out}; wanted a name that ends in .npz")
    try:
        arrays, dropped = dataset(asked.package, asked.size)
    except ImportError as error:
        parser.error(f"{error}; install what draws the images: pip install resvg-py pillow")
    except ValueError as error:
        parser.error(str(error))
    with replacing(asked.out) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    counts = np.bincount(arrays["y"], minlength=len(arrays["classes"]))
    for name, count in zip(arrays["classes"], counts, strict=True):
        print(f"{count:6} {name}")
    both = f"{len(arrays['x'])} training and {len(arrays['x_test'])} test images"
    print(f"{both}, {dropped} equal ones dropped")
    print(f"{asked.out}: {LICENCE}")


if __name__ == "__main__":
    main()
