"""Which samples are looked at, and which timestamps are sound."""

from __future__ import annotations

import numpy as np
import pytest

from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.recipe.checks.temporal_runtime import steps_to_look_at, timestamps_problem
from tempovla.timeline import Embodiment, StreamInfo


def test_the_looks_are_inside_at_the_first_step_without_a_target_and_at_the_end():
    assert steps_to_look_at(12, 4) == [4, 7, 8, 11]
    assert steps_to_look_at(5, 4) == [0, 1, 4]
    assert steps_to_look_at(3, 4) == [0, 2]
    assert steps_to_look_at(1, 4) == [0]


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([0.0, 0.1, 0.2, 0.3], None),
        ([0.0, 0.1, 0.1, 0.2], "timestamp 0.1 s follows 0.1 s at step 2; times must increase"),
        ([0.0, 0.1, 0.05, 0.2], "timestamp 0.05 s follows 0.1 s at step 2"),
        ([0.0, 0.1, 0.6, 0.7], "a gap of 0.5 s before step 2, at 10 Hz"),
        ([0.0, 0.1, float("nan"), 0.3], "a timestamp is not finite"),
    ],
)
def test_times_increase_without_a_gap(times, reason):
    streams = {"action": StreamInfo("action", (1,), "float32", 10.0)}
    episode = MemoryEpisode("go", 4, {"action": np.zeros((4, 1), np.float32)}, {"action": np.arange(4) / 10})
    source = MemorySource("toy", Embodiment("toy", 0, 1, 10.0), streams, [episode])
    source.timestamps = lambda episode, key: np.array(times)
    problem = timestamps_problem(source, ["action"], [0])
    assert (problem is None) if reason is None else reason in problem
