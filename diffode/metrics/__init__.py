"""How good samples are: distances between two sets of points, and what they miss.

Each number means little alone: read it beside the same number for two sets of real data, and with
its standard error.
"""

from diffode.metrics.estimates import Estimate, mean
from diffode.metrics.features import Features, feature_space
from diffode.metrics.kernels import bandwidth, energy_distance, kernel_distance, mmd
from diffode.metrics.labels import class_accuracy, class_variation
from diffode.metrics.metric import Metric, Samples, metric
from diffode.metrics.modes import modes
from diffode.metrics.moments import (
    MOST_COORDINATES,
    frechet,
    gaussian_fit,
    require_second_moment,
)
from diffode.metrics.neighbours import copying, nearer, nearest, precision_recall
from diffode.metrics.panel import Panel
from diffode.metrics.paths import straightness, straightness_defect
from diffode.metrics.quality import Quality, floor, quality
from diffode.metrics.transport import sliced_wasserstein2, wasserstein2

__all__ = [
    "MOST_COORDINATES",
    "Estimate",
    "Features",
    "Metric",
    "Panel",
    "Quality",
    "Samples",
    "bandwidth",
    "class_accuracy",
    "class_variation",
    "copying",
    "energy_distance",
    "feature_space",
    "floor",
    "frechet",
    "gaussian_fit",
    "kernel_distance",
    "mean",
    "metric",
    "mmd",
    "modes",
    "nearer",
    "nearest",
    "precision_recall",
    "quality",
    "require_second_moment",
    "sliced_wasserstein2",
    "straightness",
    "straightness_defect",
    "wasserstein2",
]
