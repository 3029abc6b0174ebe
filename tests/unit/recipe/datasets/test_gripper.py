"""A gripper in {-1, +1} is told by all its values, not by its ends."""

import numpy as np
import pytest

from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.recipe.datasets.gripper import MOST_COUNTED, gripper_problem
from tempovla.timeline.source import StreamInfo
from tempovla.timeline.task import Embodiment


def source_of(*episodes, names=("lift", "grip")) -> MemorySource:
    stream = StreamInfo("action", (2,), "float32", 10.0, names)
    arrays = [np.stack([np.zeros(len(last)), last], axis=1).astype(np.float32) for last in map(np.asarray, episodes)]
    parts = [MemoryEpisode("go", len(values), {"action": values}) for values in arrays]
    return MemorySource("set", Embodiment("arm", 0, 2, 10.0), {"action": stream}, parts)


def test_all_values_are_minus_one_or_one() -> None:
    assert gripper_problem(source_of([-1, 1, 1], [1, -1])) is None


@pytest.mark.parametrize(
    ("episodes", "told"),
    [
        ([[0, 1, 0], [1, 1]], "takes 0 and 1,"),
        ([[-1, 1, -1], [1, 0]], "takes -1, 0 and 1,"),
        ([np.linspace(-1, 1, 24)], "takes 24 values between -1 and 1,"),
        ([[0.0, 0.08]], "takes 0 and 0.08,"),
        ([[-1, 1, 0.999]], "takes -1, 0.999 and 1,"),
        ([[-1, 1, -1 - 1e-6]], "takes -1.00000095, -1 and 1,"),
        ([[1 + 1e-6]], "is always 1.00000095,"),
        ([[0, 0, 0]], "is always 0,"),
        ([np.linspace(-1, 1, MOST_COUNTED + 5)], f"takes more than {MOST_COUNTED} values between -1 and 1,"),
        ([[-1, 1]] * 50 + [[-1, 0.5]], "takes -1, 0.5 and 1,"),
    ],
)
def test_others_are_told(episodes, told: str) -> None:
    problem = gripper_problem(source_of(*episodes))
    assert problem == f"the last dimension of the action (grip) {told} so it is no gripper in {{-1, +1}}"


def test_one_that_never_moves_is_taken_with_a_warning(caplog) -> None:
    assert gripper_problem(source_of([-1, -1], [-1], names=())) is None
    assert "set: the last dimension of the action is always -1; the policy's gripper will never move" in caplog.text
