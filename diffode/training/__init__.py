"""Training: objectives, the trainer, checkpoints, and what is known of the data."""

from diffode.training.objective import Objective, Phase
from diffode.training.stats import Stats, data_stats

__all__ = ["Objective", "Phase", "Stats", "data_stats"]
