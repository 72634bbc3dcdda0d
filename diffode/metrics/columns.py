"""The columns of a table: each metric with what it is and where good samples lie."""

from __future__ import annotations

from dataclasses import dataclass

NEIGHBOURS = 5
PROJECTIONS = 256

DISTANCES = {
    "W2": ("exact Wasserstein-2 distance; with many coordinates low may mean copies", "low"),
    "sliced W2": (f"sliced Wasserstein-2 distance, {PROJECTIONS} directions", "low"),
    "energy": ("energy distance", "low"),
    "MMD^2": ("squared MMD, Gaussian kernel, unbiased", "low"),
}
SHARES = {
    "precision": (
        f"share of samples in {NEIGHBOURS}-nearest-neighbour balls of real data",
        "high",
    ),
    "recall": (f"share of real data in {NEIGHBOURS}-nearest-neighbour balls of samples", "high"),
    "density": ("how many balls of real data hold a sample, 1 for real data", "one"),
    "coverage": ("share of balls of real data that hold a sample", "high"),
    "copying": ("P(nearer to the training set than held-out data): 1/2 fair, 1 copies", "half"),
}
MODES = {
    "modes": ("modes with a fifth of their weight or more", "high"),
    "least share": ("smallest share of a mode, over its weight", "one"),
    "high quality": ("share within three standard deviations of a mode", "high"),
}
CLASSES = {
    "class TV": ("total variation of the shares of the classes", "low"),
    "accuracy": ("share that a classifier gives the class it was drawn with", "high"),
}
PATHS = {"straightness": ("chord over length of a path, 1 for a straight line", "high")}


@dataclass(frozen=True)
class Metric:
    """A column of a table.

    Attributes:
        name: as `Panel.measure` names it.
        about: what it is, in a line.
        better: "low", "high", "half" or "one": where good samples lie.
    """

    name: str
    about: str
    better: str
