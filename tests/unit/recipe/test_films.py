"""Which episodes are filmed."""

from tempovla.recipe.films import choose_episodes
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec


def test_the_first_success_and_failure_of_every_task_are_chosen():
    ends = [("milk", False), ("milk", False), ("milk", True), ("soup", True), ("soup", True)]
    results = [EpisodeResult(EpisodeSpec(task, 0), "", success, 1, 0.0) for task, success in ends]
    assert [results.index(result) for result in choose_episodes(results)] == [0, 2, 3]
