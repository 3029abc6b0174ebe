"""Which episodes are filmed, and what is said of them."""

import numpy as np

from tempovla.recipe.evaluation.videos import choose_episodes, film
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec
from tempovla.timeline.bodies import LIBERO_PANDA


def test_the_first_success_and_failure_of_every_task_are_chosen():
    ends = [("milk", False), ("milk", False), ("milk", True), ("soup", True), ("soup", True)]
    results = [EpisodeResult(EpisodeSpec(task, 0), "", success, 1, 0.0) for task, success in ends]
    assert [results.index(result) for result in choose_episodes(results)] == [0, 2, 3]


def test_the_index_says_what_was_told_and_whether_it_was_another_tasks(tmp_path):
    frames = np.zeros((4, 16, 16, 3), np.uint8)
    arrays = {"observation.images.front": frames, "observation.state": np.zeros((4, 9)), "action": np.zeros((4, 7))}
    result = EpisodeResult(EpisodeSpec("milk", 7, "take the soup"), "take the soup", False, 4, 0.0, arrays)
    entry = film(result, tmp_path, LIBERO_PANDA, "wrong_instruction")
    assert (entry["task"], entry["instruction"], entry["kind"]) == ("milk", "take the soup", "wrong_instruction")
    assert (tmp_path / entry["file"]).stat().st_size > 0
    assert film(result, tmp_path, LIBERO_PANDA)["kind"] == "policy"
