"""The picture of docs/learn/unified-view.md: three corruptions of digits and their guesses.

python scripts/figures/learn_unified_view.py
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from figure_file import written

from diffode import Rng
from diffode.data import load
from diffode.fields import VP, Absorbing, Empirical, Enumerated
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
TIMES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
SHOWN = 5


def main(out: Path = HERE) -> Path:
    """Write a picture into the folder OUT."""
    x0 = load("digits").train.flatten(1).double()
    x0 = 2 * (x0 - x0.min()) / (x0.max() - x0.min()) - 1
    tokens = (x0 > 0).long().unique(dim=0)
    hot = Empirical(x0, VP())
    masks = Enumerated(tokens, torch.ones(len(tokens)), Absorbing(2, (64,)))
    one, token, mean, rng = x0[SHOWN : SHOWN + 1], tokens[900:901], x0.mean(0), Rng(8)
    rows: dict[str, list[torch.Tensor]] = {
        "noise": [],
        "mean guess": [],
        "mixed with\nthe mean": [],
        "guess": [],
        "masks": [],
        "drawn guess": [],
    }
    for k, t in enumerate(TIMES):
        noisy = hot.corrupt(one, t, rng)[0]
        mixed = (1 - t) * one + t * mean
        hidden = masks.corruption.corrupt(token, t, rng)
        found = masks.guess(hidden, t, rng.at(k))
        seen = [
            noisy,
            hot.denoise(noisy, t),
            mixed,
            one if t < 1 else mean,
            torch.where(hidden < 2, 2.0 * hidden - 1, torch.nan),
            2.0 * found - 1,
        ]
        for shown, row in zip(seen, rows.values(), strict=True):
            row.append(shown.reshape(8, 8))
    figure = canvas.figure(1320, 1400)
    figure.set_layout_engine("constrained")
    from matplotlib import colormaps

    greys = colormaps["gray"].with_extremes(bad=canvas.BLUE)
    axes = figure.subplots(len(rows), len(TIMES))
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for ax, shown, t in zip(line, row, TIMES, strict=True):
            ax.imshow(shown.numpy(), cmap=greys, vmin=-1.2, vmax=1.2)
            ax.set(xticks=[], yticks=[])
            if name == "noise":
                ax.set_title(f"t = {t:g}", fontsize=18)
        line[0].set_ylabel(name, fontsize=16)
    return written(figure, out / "unified-view.png")


if __name__ == "__main__":
    typer.run(main)
