"""What every network here is told beside x: conditioning numbers and a label, as one vector.

The numbers (a time, log(sigma) / 4, ...) become fixed Fourier features and pass a small MLP; the
label is a row of a table, whose last row is the *null label*, which stands for "unconditional".
Their sum is the embedding that the blocks of a network read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, silu

WAVES = 30
"""Fourier features per conditioning number: a sine and a cosine at 15 frequencies."""


def fourier(cond: Tensor) -> Tensor:
    r"""Sines and cosines of the conditioning numbers at fixed frequencies from 1/8 to 16.

    .. math:: c \mapsto (\sin 2^{k/2} c, \cos 2^{k/2} c), \qquad k = -6, -5, \dots, 8

    The slowest sine is one-to-one on [-10, 10], so distant values never look alike; the fastest
    tells apart numbers that differ by 0.05.

    Reference: Fourier features (Tancik et al., 2020), https://arxiv.org/abs/2006.10739; here the
    frequencies are fixed, not drawn.

    Arguments:
        cond: conditioning numbers, shape (B, k); the result has shape (B, 30 k).
    """
    powers = torch.arange(-6, 9, device=cond.device, dtype=cond.dtype) / 2
    angle = (cond[..., None] * torch.exp2(powers)).flatten(1)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Labels(nn.Embedding):
    """A row for each label, and a last one for "no label", the null label.

    Attributes:
        null: whether the null label is trained; if not, it is refused.

    Arguments:
        classes: the number of labels, which are 0 to classes - 1; the null label is ``classes``.
        width: the size of a row.
    """

    null = True

    def __init__(self, classes: int, width: int) -> None:
        super().__init__(classes + 1, width)

    @property
    def needs_labels(self) -> bool:
        """Whether it has no null label."""
        return not self.null

    def forward(self, y: Tensor | None) -> Tensor:
        """The rows of labels y (B,), shape (B, width); of None the null label's, shape (width,).

        Raises:
            ValueError: labels that there are not, or none where the null label is not trained.
        """
        if y is None and not self.null:
            raise ValueError(
                "got no labels, but this network was trained with label_drop=0 and has no null "
                "label to stand for that; pass labels y, or --label on the command line"
            )
        if y is None:
            return self.weight[-1]
        try:
            return embedding(y, self.weight if self.null else self.weight[:-1])
        except IndexError:
            last = self.num_embeddings - 1
            known = f"0 to {last}, where {last} is the null label (unconditional)"
            raise ValueError(
                f"got labels from {int(y.min())} to {int(y.max())}; "
                f"use {known if self.null else f'0 to {last - 1}'}"
            ) from None


def without_null(network: nn.Module) -> None:
    """Let all label tables of a network refuse the null label, as one that is never trained."""
    for module in network.modules():
        if isinstance(module, Labels):
            module.null = False


class Embedding(nn.Module):
    r"""Vector of the conditioning numbers c and the label y, for the blocks to read.

    .. math:: e = \mathrm{silu}\big(W_2\, \mathrm{silu}(W_1\, \mathrm{fourier}(c)) + T_y\big)

    Arguments:
        width: size E of the embedding.
        conditions: how many conditioning numbers k there are.
        classes: number of labels, or None for a network without; the null label is the integer
            `classes`, the last row of the table T.
    """

    def __init__(self, width: int, conditions: int = 1, classes: int | None = None) -> None:
        super().__init__()
        self.classes = classes
        self.first = nn.Linear(WAVES * conditions, width)
        self.second = nn.Linear(width, width)
        for layer in (
            self.first,
            self.second,
        ):  # torch's own start is ten times weaker than labels
            nn.init.kaiming_normal_(layer.weight)
        self.table = None if classes is None else Labels(classes, width)

    def forward(self, cond: Tensor, y: Tensor | None = None) -> Tensor:
        """The embedding, shape (B, E).

        Arguments:
            cond: conditioning numbers, shape (B, k); the waves are computed in their dtype.
            y: labels, shape (B,); None gives every row the null label.
        """
        return self.labelled(self.numbers(cond), y)

    def numbers(self, cond: Tensor) -> Tensor:
        """What no label has a part in: the embedding's first summand, shape (B, E)."""
        e: Tensor = self.second(silu(self.first(fourier(cond).to(self.first.weight.dtype))))
        return e

    def labelled(self, e: Tensor, y: Tensor | None = None) -> Tensor:
        """The embedding by its first summand, shape (B, E), or (1, E) for all rows."""
        if self.table is not None:
            e = e + self.table(y)
        elif y is not None:
            raise ValueError(
                "got labels for a network without; train it with labels (labels=True of "
                "diffode.fit, classes= of diffode.build), or pass y=None"
            )
        return silu(e)
