"""Bodies that datasets and simulators share; neither of these rooms imports the other."""

from __future__ import annotations

from tempovla.timeline.task import Embodiment

LIBERO_PANDA = Embodiment(
    name="libero_panda",
    state_dim=9,
    action_dim=7,
    rate_hz=20.0,
    state_names=(*(f"joint_{i} [rad]" for i in range(1, 8)), "left_finger [m]", "right_finger [m]"),
    action_names=(
        *(f"hand_d{axis} [5 cm]" for axis in "xyz"),
        *(f"hand_r{axis} [0.5 rad]" for axis in "xyz"),
        "gripper [-1 open, +1 close]",
    ),
)
"""LIBERO's arm, in all of its suites: joints and fingers, driven by hand displacements (robosuite's OSC_POSE)."""

NO_BODY = Embodiment(name="none", state_dim=0, action_dim=0, rate_hz=1.0)
"""The body of pictures and words that involve no robot."""
