"""How good samples are: distances between two sets of points, and what they miss.

Each number means little alone: read it beside the same number for two sets of real data.
"""

from diffode.bench.metrics.moments import (
    MOST_COORDINATES,
    Quality,
    floor,
    frechet,
    gaussian_fit,
    moments_distance,
    nearest,
    precision_recall,
    quality,
)
from diffode.bench.metrics.transport import sliced_wasserstein2

__all__ = [
    "MOST_COORDINATES",
    "Quality",
    "floor",
    "frechet",
    "gaussian_fit",
    "moments_distance",
    "nearest",
    "precision_recall",
    "quality",
    "sliced_wasserstein2",
]
