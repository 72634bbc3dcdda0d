r"""Masks and letters: a model without an ODE, and why it takes many steps.

Strings of four letters follow two Markov chains. All letters are hidden at first, and some are
revealed in each of K steps, by guesses from the exact posterior. A guess of the whole string at
once samples the law in any number of steps. A guess that draws each position alone, which is all
that a network gives, does not: letters that are revealed in one step do not know of each other.

What is drawn is the log-probability of the samples. Its mean over the law itself is minus the
entropy; strings that no chain would make lie far to the left.

Reference: D3PM (Austin et al., 2021), https://arxiv.org/abs/2107.03006.
"""

from pathlib import Path

import torch
import typer
from torch import Tensor

from diffode import sample
from diffode.fields import Absorbing, Enumerated
from diffode.likelihood import elbo
from diffode.options import counted
from diffode.viz import canvas

LETTERS, LENGTH = 4, 4
STRINGS = torch.cartesian_prod(*[torch.arange(LETTERS)] * LENGTH)


def law() -> Tensor:
    """The probability of each string: a letter is followed by the next, or by its pair."""
    chains = torch.full((2, LETTERS, LETTERS), 0.05, dtype=torch.float64)
    for chain, after in zip(chains, ([1, 2, 3, 0], [3, 2, 1, 0]), strict=True):
        chain[torch.arange(LETTERS), torch.tensor(after)] = 0.85
    return chains[:, STRINGS[:, :-1], STRINGS[:, 1:]].prod(-1).mean(0) / LETTERS


def main(out: Path = Path("."), steps: int = 32, n: int = 4000) -> Path:
    """Write a picture into the folder OUT."""
    p = law()
    entropy = -float((p * p.log()).sum())
    figure = canvas.figure(1400, 780)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 0.98))
    counts = sorted({1, 2, steps})
    for row, joint in zip(figure.subplots(2, len(counts)), (True, False), strict=True):
        field = Enumerated(STRINGS, p, Absorbing(LETTERS, (LENGTH,)), joint)
        guess = "as a whole" if joint else "by positions"
        for ax, k in zip(row, counts, strict=True):
            x = sample(field, n, steps=k, seed=k).x
            place = (x * LETTERS ** torch.arange(LENGTH - 1, -1, -1)).sum(1)
            found = p[place].log()
            how = f"{guess}, {counted(k, 'step')}"
            print(f"{how}: mean log P {found.mean():.3f}, the law {-entropy:.3f}")
            edges = torch.linspace(float(p.log().min()) - 0.1, float(p.log().max()) + 0.1, 40)
            ax.hist(p.log(), edges, weights=p, color=canvas.PALE, label="the law")
            ax.hist(found, edges, weights=torch.ones(n) / n, histtype="step", label="samples")
            ax.set_title(how)
            ax.set_xlabel("log P")
    figure.axes[0].legend()
    bound = elbo(field, STRINGS, steps=steps)
    print(f"the bound of {steps} steps is short by {-entropy - float(p @ bound.nats):.4f} nats")
    file = out / "masked_letters.png"
    canvas.save(figure, file)
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
