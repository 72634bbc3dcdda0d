"""A run: its plan, the training, the samples and their quality, and the folder that it leaves."""
