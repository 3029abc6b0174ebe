"""Which steps a sample of now and k steps later holds."""

from __future__ import annotations

import pytest

from tempovla.data.temporal.config import ROBOT_TYPE_REGISTRY, TemporalDataConfig


@pytest.mark.parametrize(
    ("robot_type", "observed", "k", "horizon"),
    [
        ("libero_franka", (0, 7), 7, 8),
        ("libero_franka_whole_chunk", (0, 8), 8, 8),
        ("oxe_bridge", (0,), None, 16),
        ("oxe_rt1", (0,), None, 16),
    ],
)
def test_each_type_of_robot_has_its_steps(robot_type, observed, k, horizon):
    config = ROBOT_TYPE_REGISTRY[robot_type]()
    assert (config.observation_indices, config.k, config.action_horizon) == (observed, k, horizon)
    assert config.action_indices == tuple(range(horizon))


def test_k_is_the_furthest_observation_unless_it_is_given():
    assert TemporalDataConfig((0, 4, 8), tuple(range(8))).k == 8
    assert TemporalDataConfig((0, 4, 8), tuple(range(8)), temporal_delta_k=4).k == 4
    assert TemporalDataConfig((-2, 0), tuple(range(8))).k is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temporal_delta_k": 9}, r"temporal_delta_k=9 is not among observation_indices \[0, 7\]; add 9"),
        ({"temporal_delta_k": 0}, "temporal_delta_k=0 must be at least 1"),
        ({"observation_indices": ()}, "observation_indices is empty; name at least step 0"),
        ({"observation_indices": (7,)}, r"observation_indices \[7\] must hold 0, which is now; add 0"),
        ({"observation_indices": (0, 7, 7)}, "names step 7 twice; name each step once"),
        ({"observation_indices": (7, 0)}, r"observation_indices \[7, 0\] must increase; sort them"),
        ({"observation_indices": (0, 100_001)}, "names step 100001, which is more than 100,000 steps from now"),
        ({"observation_indices": (0, 0.5)}, r"observation_indices\[1\]=0.5 must be a whole number"),
        ({"observation_indices": "07"}, r"observation_indices='07' must be a list of control steps"),
        ({"action_indices": ()}, "action_indices is empty"),
        ({"action_indices": (-1, 0)}, "action_indices names step -1, but actions to imitate begin at 0"),
        ({"action_indices": (0, 2)}, r"action_indices \[0, 2\] must be consecutive .*; give \[0, 1\]"),
        ({"action_indices": (1, 2)}, r"action_indices \[1, 2\] must be consecutive steps from 0 on"),
    ],
)
def test_steps_that_make_no_sample_are_refused_in_one_line(settings, message):
    whole = {"observation_indices": (0, 7), "action_indices": tuple(range(8)), **settings}
    with pytest.raises(ValueError, match=message) as problem:
        TemporalDataConfig(**whole)
    assert "\n" not in str(problem.value)
