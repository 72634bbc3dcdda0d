"""Training: objectives, the trainer, checkpoints, and what is known of the data."""

from diffode.data.stats import Stats, data_stats
from diffode.training.batches import Batch
from diffode.training.coupling import Paired
from diffode.training.denoising import Denoising, Logistic, LogNormal, PoissonDenoising, Uniform
from diffode.training.interpolants import InterpolantRegression
from diffode.training.objective import Objective, Phase
from diffode.training.radial import RadialRegression

__all__ = [
    "Batch",
    "Denoising",
    "InterpolantRegression",
    "LogNormal",
    "Logistic",
    "Objective",
    "Paired",
    "Phase",
    "PoissonDenoising",
    "RadialRegression",
    "Stats",
    "Uniform",
    "data_stats",
]
