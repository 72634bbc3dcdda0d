"""The kinds of pictures that `diffode.viz.plot` draws, one a module. The list needs no torch."""

KINDS = {
    "samples": "samples, points over the data or images in rows",
    "paths": "trajectories from the prior to the data",
    "field-lines": "lines along the velocity, at several times and above the data",
    "density": "the log-density at several times",
    "strip": "samples at several times",
    "section": "velocity and density on a line or plane through the data",
    "loss": "the losses of a run",
    "interpolation": "the ways between samples",
}
USUAL = {  # samples that a kind draws where no number is given: images, and points
    "samples": (60, 2000),
    "paths": (1, 200),
    "strip": (12, 2000),
    "interpolation": (5, 12),
    "film": (48, 1500),
}
LEAST = {"samples": (10, 100)}  # of each of several classes


def of_each(kind: str, images: bool, classes: int) -> int:
    """How many samples of each of so many classes a kind draws where no number is given."""
    total, least = (of.get(kind, (1, 1))[not images] for of in (USUAL, LEAST))
    return max(least if classes > 1 else 1, total // classes, 1)
