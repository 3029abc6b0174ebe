"""CPU time of a run."""

from __future__ import annotations

import os


def cpu_seconds() -> float:
    """Return the CPU time of this process and its ended children [s]."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
