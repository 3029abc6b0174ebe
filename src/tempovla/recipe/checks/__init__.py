"""Checks of configs and datasets before a training."""
