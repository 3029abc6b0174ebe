"""A last action dimension of two values that are no gripper's is hinted at, and no other one is."""

import numpy as np
import pytest

from tempovla.data.gripper_values import gripper_hints, last_values, shown
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.timeline.source import StreamInfo
from tempovla.timeline.task import Embodiment


def source_of(*episodes: list[float], key: str = "action") -> MemorySource:
    stream = StreamInfo("action", (2,), "float32", 10.0, ("lift", "grip"))
    arrays = [np.stack([np.arange(len(last)), last], axis=1).astype(np.float32) for last in map(np.asarray, episodes)]
    parts = [MemoryEpisode("go", len(values), {key: values}) for values in arrays]
    return MemorySource("set", Embodiment("arm", 0, 2, 10.0), {key: stream}, parts)


def test_two_other_values_are_told_with_what_training_says_and_what_to_do() -> None:
    (hint,) = gripper_hints(source_of([0, 0], [0.08, 0]))
    assert hint.startswith(
        "the last dimension of the action (grip) takes 0 and 0.08; training would take it for a gripper"
    )
    assert "must be -1 or +1, and refuse it; set --model.has_gripper=false" in hint
    assert "-1 for 0 and +1 for 0.08" in hint


@pytest.mark.parametrize("episodes", [([-1, 1], [1]), ([0, 0.5, 1],), ([1, 1],), ([0, 1], [2, 0])])
def test_a_gripper_a_constant_and_a_number_are_not_hinted_at(episodes) -> None:
    assert gripper_hints(source_of(*episodes)) == []


def test_a_value_that_is_nearly_one_is_told_with_the_digits_that_tell_it_from_one() -> None:
    assert "takes -1 and 1.00000095; training" in gripper_hints(source_of([-1, 1 + 1e-6]))[0]
    assert shown(np.array([-0.5, 0.1 + 0.2])) == ["-0.5", "0.3"]
    assert shown(np.array([0.3, 0.1 + 0.2])) == ["0.29999999999999999", "0.30000000000000004"]


def test_a_dataset_without_actions_is_not_asked() -> None:
    assert gripper_hints(source_of([0, 1], key="actions")) == []


def test_values_are_counted_no_further_than_asked() -> None:
    assert last_values(source_of([0, 1], [1, 2], [3, 4]), most=2).tolist() == [0, 1, 2]
