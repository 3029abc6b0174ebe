"""An observation is read with the action that follows it, in whichever row a demonstration has it."""

import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.libero_recordings import AGENT, MILK, assert_equal_to, only_file, record

from tempovla.data.errors import DatasetError
from tempovla.data.libero_hdf5 import open_libero
from tempovla.data.libero_late import observed_late
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY


def set_states(path: Path, late: bool, drift: float = 0.0, names: tuple[str, ...] = ()) -> None:
    """States with the joints of each row's observation or, as LIBERO has them, of the one before it."""
    with h5py.File(path, "a") as file:
        for demo in [file["data"][name] for name in names] or file["data"].values():
            joints = demo["obs/joint_states"][()]
            if late:
                joints = np.concatenate([joints[:1] - 0.5, joints[:-1]])
            del demo["states"]
            demo["states"] = np.pad(joints + drift, ((0, 0), (1, 12)))


@pytest.mark.parametrize("drift", [0.0, 0.01])
def test_an_observation_is_read_with_the_action_that_follows_it(tmp_path: Path, drift: float) -> None:
    recorded = record(tmp_path, (9, 6), (MILK,))
    set_states(only_file(tmp_path), late=False, drift=drift)
    assert_equal_to(open_libero(tmp_path), recorded)
    set_states(only_file(tmp_path), late=True, drift=drift)
    actions = [frames.pop(ACTION_KEY) for frames in recorded]
    later = [
        {ACTION_KEY: action[1:], **{key: values[:-1] for key, values in frames.items()}}
        for action, frames in zip(actions, recorded, strict=True)
    ]
    source = open_libero(tmp_path)
    assert_equal_to(source, later)
    assert source.read(0, REWARD_KEY, range(8)).value[:, 0].tolist() == [0] * 7 + [1]  # what followed the last action
    assert source.read(0, AGENT, [7, 8]).valid.tolist() == [True, False]


def test_a_file_of_both_kinds_is_read_demonstration_by_demonstration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = record(tmp_path, (9, 6, 5), (MILK,))
    set_states(only_file(tmp_path), late=False)
    set_states(only_file(tmp_path), late=True, names=("demo_1",))
    with caplog.at_level(logging.INFO):
        source = open_libero(tmp_path)
    assert "1 of 3 demonstrations observe after acting, the others before" in caplog.text
    assert [source.episode(i).length for i in range(3)] == [9, 5, 5]
    for i, late in enumerate((False, True, False)):
        expected = recorded[i][ACTION_KEY][1:] if late else recorded[i][ACTION_KEY]
        np.testing.assert_array_equal(source.read(i, ACTION_KEY, range(len(expected))).value, expected)
        np.testing.assert_array_equal(source.read(i, AGENT, [0]).value[0], recorded[i][AGENT][0])


def test_in_a_file_of_both_kinds_a_demonstration_that_does_not_tell_is_refused(tmp_path: Path) -> None:
    record(tmp_path, (9, 6, 5), (MILK,))
    set_states(only_file(tmp_path), late=True, names=("demo_0",))
    set_states(only_file(tmp_path), late=False, names=("demo_1",))
    with pytest.raises(DatasetError, match=r"demo_0 has each .* and demo_1 in that .* states of demo_2 do not show"):
        open_libero(tmp_path)


def test_states_that_tell_nothing_change_nothing(tmp_path: Path) -> None:
    recorded = record(tmp_path, (9, 6), (MILK,))
    for states in (np.zeros((9, 20)), np.random.default_rng(0).normal(size=(9, 20)), np.zeros((9, 3)), np.zeros(4)):
        with h5py.File(only_file(tmp_path), "a") as file:
            del file["data/demo_0/states"]
            file["data/demo_0/states"] = states
        assert_equal_to(open_libero(tmp_path), recorded)


def test_demonstrations_that_do_not_tell_are_taken_as_the_others() -> None:
    names = ["demo_0", "demo_1", "demo_2"]
    assert observed_late("here", ["unknown", "late", "unknown"], names) == [True, True, True]
    assert observed_late("here", ["unknown", "in time", "unknown"], names) == [False, False, False]
    assert observed_late("here", ["unknown"] * 3, names) == [False, False, False]
    assert observed_late("here", ["late", "in time", "late"], names) == [True, False, True]
