import numpy as np
import pytest

from tempovla.timeline.keys import (
    DONE_KEY,
    OUTCOME_KEYS,
    REWARD_KEY,
    SUCCESS_KEY,
    TERMINATED_KEY,
    is_outcome,
    newest_known,
)
from tempovla.timeline.outcomes import outcomes


def test_an_episode_ends_at_its_last_step_alone():
    found = outcomes([0.5, -1.0, 2.0], [False, True, False])
    assert list(found) == list(OUTCOME_KEYS)
    assert found[REWARD_KEY].tolist() == [[0.5], [-1.0], [2.0]]
    assert found[SUCCESS_KEY].tolist() == [[False], [True], [False]]
    assert found[DONE_KEY].tolist() == [[False], [False], [True]]
    assert [values.dtype for values in found.values()] == [np.float32, np.bool_, np.bool_, np.bool_]


@pytest.mark.parametrize("world_ended", [False, True])
def test_only_the_last_step_can_end_the_world(world_ended):
    found = outcomes([0.0, 0.0], [False, True], world_ended=world_ended)
    assert found[TERMINATED_KEY].tolist() == [[False], [world_ended]]
    assert found[DONE_KEY].tolist() == [[False], [True]]


def test_no_step_has_no_end():
    assert {key: values.shape for key, values in outcomes([], []).items()} == dict.fromkeys(OUTCOME_KEYS, (0, 1))


def test_an_observation_is_known_now_and_an_action_and_what_follows_it_are_not():
    newest = {key: newest_known(key) for key in ("observation.state", "action", "next.reward", "next.value")}
    assert newest == {"observation.state": 0, "action": -1, "next.reward": -1, "next.value": -1}
    assert not is_outcome("observation.next.state")
