r"""Your own images: a folder of files, a field trained on it, and images drawn of each class.

The files are made here, so that there are some: discs, squares and rings on coloured grounds, of
several sizes and formats, a sub-folder for each class. Put the path of your own folder there.

`as_dataset` brings all files to one size and says how; one that could not be read stands in
``left_out``. `fit` trains on them with their labels, and `sample` draws of those it is given.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw

import diffode
from diffode.data import as_dataset
from diffode.viz import image_sheet

SHAPES = ("disc", "ring", "square")
SIDE = 16  # pixels that the network sees
SHOWN = 14  # images of a class in the picture


def make(folder: Path, each: int = 200, seed: int = 0) -> Path:
    """A folder of images with a sub-folder for each shape."""
    rng = np.random.default_rng(seed)
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True)
        for k in range(each):
            side = int(rng.integers(48, 96))
            ground, colour = (tuple(map(int, rng.integers(*r, 3))) for r in ((0, 90), (150, 256)))
            image = Image.new("RGB", (side + int(rng.integers(0, 30)), side), ground)
            x, y, r = (rng.uniform(0.42, 0.58, 3) * (*image.size, 0.6 * side)).tolist()
            draw, box = ImageDraw.Draw(image), (x - r, y - r, x + r, y + r)
            if shape == "square":
                draw.rectangle(box, colour)
            else:
                draw.ellipse(box, colour if shape == "disc" else None, colour, side // 8)
            image.save(folder / shape / f"{k:03d}.{('png', 'jpg', 'webp')[k % 3]}")
    return folder


def main(out: Path = Path("."), steps: int = 800) -> Path:
    """Write a picture into the folder OUT."""
    with tempfile.TemporaryDirectory() as place:
        data = as_dataset(make(Path(place) / "shapes"), resize=SIDE)
    print(data, *data.notes, *data.left_out, sep="\n")
    run = diffode.fit("edm", data, labels=True, steps=steps, batch=32, width=16, depth=1)
    labels = torch.arange(len(SHAPES)).repeat_interleave(SHOWN)
    drawn = diffode.sample(run.field, len(labels), y=labels).x.cpu()
    drawn = run.field.scaling.to_model(drawn)
    rows = [(data.train_labels == label).nonzero().flatten()[:SHOWN] for label in range(3)]
    names = [f"{name}, {kind}" for name in data.class_names for kind in ("yours", "drawn")]
    title = f"Images of a folder, and images drawn of each class after {steps} steps"
    x, y = torch.cat((data.train[torch.cat(rows)], drawn)), torch.cat((2 * labels, 2 * labels + 1))
    image_sheet(x, file := out / "own_images.png", title, y, names)
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
