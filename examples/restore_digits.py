r"""Digits seen at a quarter of their pixels: what they may have been, by two methods.

A field of digits is trained once, and is then given observations y = H x + noise: the means of
blocks of 2 x 2 pixels of digits that it has not seen. PiGDM pulls each evaluation towards y.
It is fast, and its draws are not quite those of the law given y. Twisted SMC corrects them by many
weighted particles. How far y - H x of the draws is, in units of the noise, tells them apart: for
draws of the law itself it is 1 on average.

References: Song et al. (2023), https://openreview.net/forum?id=9_gsMA8MRKQ; Wu et al. (2023),
https://arxiv.org/abs/2306.17775.
"""

from pathlib import Path

import torch
import typer

import diffode
from diffode.fields import conditioned
from diffode.fields.operators import downsample
from diffode.sampling import twisted
from diffode.viz import image_sheet

DIGITS, DRAWS, NOISE = 16, 3, 0.1


def main(out: Path = Path("."), steps: int = 700, particles: int = 64) -> Path:
    """Write a picture into the folder OUT."""
    run = diffode.fit("edm", "digits", steps=steps)
    blocks, x = downsample((1, 8, 8), 2), run.dataset.test[:DIGITS]
    y = blocks(x)
    y = y + NOISE * diffode.Rng(0).normal("observation", y.shape)
    field = conditioned(run.field, blocks, y.repeat(DRAWS, 1, 1, 1), NOISE)
    pulled = diffode.sample(field, DRAWS * DIGITS, "dpm++").x.cpu().unflatten(0, (DRAWS, DIGITS))
    runs = [
        twisted(run.field, blocks, one, NOISE, DRAWS, particles, seed=k).x.cpu()
        for k, one in enumerate(y)
    ]
    weighed = torch.stack(runs, 1)
    rows = {"original": x, "observed": y.repeat_interleave(2, 2).repeat_interleave(2, 3)}
    for name, draws in (("PiGDM", pulled), ("SMC", weighed)):
        misfit = (blocks(draws.flatten(0, 1)) - y.repeat(DRAWS, 1, 1, 1)).square().mean().sqrt()
        print(f"{name}: y - H x of the draws is {misfit / NOISE:.2f} times the noise")
        rows |= {f"{name} {k + 1}": images for k, images in enumerate(draws)}
    title = f"Digits from a quarter of their pixels\nPiGDM, and SMC of {particles} particles"
    labels = torch.arange(len(rows)).repeat_interleave(DIGITS)
    file = out / "restore_digits.png"
    image_sheet(torch.cat(list(rows.values())), file, title, labels, list(rows))
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
