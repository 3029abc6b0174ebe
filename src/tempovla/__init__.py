"""TempoVLA: train, evaluate and deploy robot policies that remember the past and predict the future."""

__version__ = "0.1.0"
