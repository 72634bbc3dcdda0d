r"""Guidance: the same digits at several weights, from no label at all to far beyond their label.

A field learns digits with their labels. At weight 0 it draws any digit, and at 1 the one that it
is told. Guidance goes on from there, :math:`E_0 + w (E_y - E_0)`, with the means of the data that
the network states without the label and with it. All rows start from the same noise, so that a
column is one digit that is led further and further: first to its label, then to what is most
typical of it.
"""

from pathlib import Path

import torch
import typer

import diffode
from diffode.fields import classifier_free
from diffode.viz import image_sheet

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
EACH = 2  # of every digit


def main(out: Path = Path("."), steps: int = 700) -> Path:
    """Write a picture into the folder OUT."""
    run = diffode.fit("edm", "digits", labels=True, steps=steps)
    labels, x, names = torch.arange(10).repeat_interleave(EACH), [], []
    for weight in WEIGHTS:
        guided = classifier_free(run.field, weight)
        drawn = diffode.sample(guided, len(labels), y=labels, seed=1)
        x.append(drawn.x)
        names.append(f"w = {weight:g}")
        print(f"w = {weight:g}: {drawn.nfe} evaluations, {drawn.network_calls} network calls")
    rows = torch.arange(len(WEIGHTS)).repeat_interleave(len(labels))
    title = f"Digits 0 to 9, {EACH} of each, by the weight of guidance\nafter {steps} steps"
    image_sheet(torch.cat(x), file := out / "guided_digits.png", title, rows, names)
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
