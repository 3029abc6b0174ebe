"""A dataset is described and sampled as it is."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.recordings import ACTION, FRONT, STATE, WRIST, record

from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect, sample_windows


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inspection") / "set"
    record(root)
    return root


def test_description_holds_what_was_recorded(dataset: Path) -> None:
    found = inspect(dataset)
    assert json.loads(json.dumps(found)) == found
    assert (found["format"], found["robot_type"], found["fps"]) == ("v3.0", "toy", 10)
    assert (found["episodes"], found["frames"], found["tasks"]) == (3, 28, ["task 0", "task 1"])
    assert found["features"][FRONT] == {
        "dtype": "video",
        "kind": "image",
        "shape": [32, 48, 3],
        "names": [],
        "warnings": [],
    }
    assert found["features"][STATE] == {
        "dtype": "float32",
        "kind": "state",
        "shape": [3],
        "names": ["x", "y", "z"],
        "warnings": [],
    }
    assert found["left_out"] == {}


def test_windows_in_steps_and_in_seconds_are_the_same(dataset: Path) -> None:
    steps = sample_windows(dataset, 1, 3, [f"{ACTION}=-2,0,1", f"{FRONT}=-2,0", f"{WRIST}=0"])
    seconds = sample_windows(dataset, 1, 3, [f"{ACTION}=-0.2s,0s,0.1s", f"{FRONT}=-0.2s,0s", f"{WRIST}=0s"])
    assert list(steps) == [f"{key}{part}" for key in (ACTION, FRONT, WRIST) for part in ("", ".valid", ".offsets")]
    assert seconds[f"{ACTION}.offsets"].tolist() == [-2, 0, 1]
    for key, value in steps.items():
        np.testing.assert_array_equal(value, seconds[key])
    assert steps[FRONT].shape == (2, 32, 48, 3)
    assert steps[FRONT].dtype == np.uint8


def test_windows_are_clamped_and_marked_at_the_ends(dataset: Path) -> None:
    window = sample_windows(dataset, 1, 6, [f"{ACTION}=0:4"])
    assert window[f"{ACTION}.valid"].tolist() == [True, False, False, False]
    assert (window[ACTION] == window[ACTION][0]).all()


@pytest.mark.parametrize(
    ("episode", "frame", "windows", "message"),
    [
        (3, 0, [f"{ACTION}=0"], "no episode 3; it has 3, counted from 0"),
        (1, 7, [f"{ACTION}=0"], "no frame 7 in episode 1; it has 7, counted from 0"),
        (1, -1, [f"{ACTION}=0"], "no frame -1"),
        (1, 0, ["actoin=0"], "no stream 'actoin'; did you mean action"),
        (1, 0, [f"{ACTION}=0", f"{ACTION}=1"], "given twice; join its offsets"),
        (1, 0, [f"{ACTION}=x"], "not readable"),
        (1, 3, [f"{ACTION}=-0.15s"], "-0.15s is -1.5 steps at 10 Hz"),
    ],
)
def test_what_is_not_there_is_named_in_one_line(
    dataset: Path, episode: int, frame: int, windows: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        sample_windows(dataset, episode, frame, windows)
    assert "\n" not in str(caught.value)


def test_a_sample_that_holds_too_much_is_refused_before_it_is_read(dataset: Path) -> None:
    windows = [f"{ACTION}=0:3", f"{FRONT}=-100000:100000"]
    with pytest.raises(DatasetError, match=rf"{FRONT!r} the most of it, and a sample holds at most 1 GiB"):
        sample_windows(dataset, 1, 0, [*windows, f"{WRIST}=-100000:100000"])


def test_inspecting_no_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a LeRobot dataset"):
        inspect(tmp_path)
