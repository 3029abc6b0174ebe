"""Diagnoses of trained policies: whether they use their past."""
