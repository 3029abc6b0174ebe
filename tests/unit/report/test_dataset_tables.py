"""Text about datasets."""

from __future__ import annotations

from tempovla.report.dataset_tables import dataset_lines, statistics_lines

FACTS = {
    "root": "drive",
    "format": "nuscenes",
    "fps": 2.0,
    "robot_type": None,
    "episodes": 1,
    "frames": 1,
    "features": {"action": {"shape": [3], "names": [], "dtype": "float32", "kind": "action", "warnings": []}},
    "left_out": {},
    "hints": [],
    "tasks": [],
    "recording": {},
}


def test_one_episode_of_one_frame_is_told_in_the_singular():
    assert dataset_lines(FACTS).splitlines()[1] == "1 episode, 1 frame"
    assert dataset_lines({**FACTS, "episodes": 2, "frames": 9}).splitlines()[1] == "2 episodes, 9 frames"
    assert statistics_lines({"root": "drive", "episodes": 1, "streams": {}, "problems": []}) == "drive: 1 episode"
