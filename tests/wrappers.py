"""A wrapper of a few lines, as a user would write it: classifier-free guidance."""

import torch

from diffode import solvers
from diffode.fields import AffineField, Field, Wrapped

FLOWS = [n for n in solvers.names() if solvers.get_solver(n).needs in (Field, AffineField)]
"""The solvers that move the points of an affine field."""


class ClassifierFree(Wrapped):
    """The conditional means, ``weight`` times as far from the unconditional ones as they are."""

    def __init__(self, inner, weight):
        super().__init__(inner)
        self.weight = weight

    def posterior(self, x, t, y=None):
        plain, labelled = self.inner.posterior(x, t), self.inner.posterior(x, t, y)
        return tuple(torch.lerp(*pair, self.weight) for pair in zip(plain, labelled, strict=True))


class Told(Wrapped):
    """A field that is told one label, for checks that go without."""

    needs_labels = False

    def __init__(self, inner, label):
        super().__init__(inner)
        self.label = label

    def posterior(self, x, t, y=None):
        return self.inner.posterior(x, t, torch.full((len(x),), self.label))


class Counted(Wrapped):
    """A field that counts how often it is asked, its copies and rows with it."""

    def __init__(self, inner):
        super().__init__(inner)
        self.made = []

    def posterior(self, x, t, y=None):
        self.made.append(1)
        return self.inner.posterior(x, t, y)
