"""Training: objectives, the trainer, checkpoints, and what is known of the data."""

from diffode.data.stats import Stats, data_stats
from diffode.training.batches import Batch
from diffode.training.objective import Objective, Phase

__all__ = ["Batch", "Objective", "Phase", "Stats", "data_stats"]
