r"""The way from one digit to another: their latents are interpolated, and each leads to a digit.

A field is trained on the digits with their labels. Above, pairs of digits of the test set are
encoded with their own labels: the ends come back as they were. Below, pairs of samples of one
class are drawn. Latents turn along a great circle about the prior's mean. In the middle of a
straight line they would be too short by a factor of :math:`\sqrt 2`, as no draw is: the printed
lengths are those of the middles, in units of the length of the ends.
"""

from pathlib import Path

import torch
import typer
from torch import Tensor

import diffode
from diffode.sampling import random_pairs
from diffode.viz import image_sheet

PAIRS, COUNT = 3, 15


def length(x: Tensor) -> float:
    """The mean length of points x (B, *event)."""
    return float(x.flatten(1).norm(dim=1).mean())


def main(out: Path = Path("."), steps: int = 700) -> Path:
    """Write a picture into the folder OUT."""
    run = diffode.fit("edm", "digits", labels=True, steps=steps)
    field, digits = run.field, run.dataset
    rows = [int((digits.test_labels == k).nonzero()[0]) for k in range(2 * PAIRS)]
    x, y = digits.test[rows], digits.test_labels[rows]
    given = diffode.interpolate(field, x[::2], x[1::2], COUNT, y=y[::2], y_b=y[1::2], nfe=40)
    ways = given.x.cpu().view(PAIRS, COUNT, *x.shape[1:])
    gap = torch.cat((ways[:, 0] - x[::2], ways[:, -1] - x[1::2]))
    print(f"ends come back to an rms error of {float(gap.square().mean().sqrt()):.2g}")

    a, b = random_pairs(field, PAIRS, seed=1)
    drawn = diffode.interpolate(field, a, b, COUNT, y=8)
    middle = drawn.latent.x.view(PAIRS, COUNT, *x.shape[1:])[:, COUNT // 2]
    far = length(torch.cat((a.x, b.x)) - field.moments[0])
    for name, latents in (("great circle", middle), ("straight line", (a.x + b.x) / 2)):
        print(f"middle of a {name}: {length(latents - field.moments[0]) / far:.2f}")

    heads = [f"{one} - {two}" for one, two in zip(y[::2].tolist(), y[1::2].tolist(), strict=True)]
    heads += ["samples"] * PAIRS
    title = "Ways between digits, by their latents\nof the test set, and between samples of an 8"
    pictures = torch.cat((given.x, drawn.x)).cpu()
    row = torch.arange(2 * PAIRS).repeat_interleave(COUNT)
    image_sheet(pictures, file := out / "morph_digits.png", title, row, heads)
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
