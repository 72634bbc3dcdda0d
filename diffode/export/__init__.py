"""Trained fields in the form of others: pipeline folders of diffusers."""
