"""The three phases of SA-GR's training, as a pure function of the optimiser step."""

from __future__ import annotations


def phase_of(train_step: int | None, phase_a_steps: int, ramp_steps: int) -> tuple[int, float]:
    """Return the phase, and the factor of all weights but that of flow matching.

    Phase 1 (A) trains flow matching alone, phase 2 (B) lets the other losses grow linearly, and in phase 3 (C) they
    have their weights. Without either setting there is one phase, 0, with a factor of 1.

    Args:
        train_step: completed optimiser steps; None is after the training.
        phase_a_steps: steps of phase A.
        ramp_steps: steps of phase B.
    """
    if not phase_a_steps and not ramp_steps:
        return 0, 1.0
    if train_step is None or train_step >= phase_a_steps + ramp_steps:
        return 3, 1.0
    if train_step < phase_a_steps:
        return 1, 0.0
    return 2, (train_step - phase_a_steps + 1) / ramp_steps
