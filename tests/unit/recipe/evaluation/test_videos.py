"""Which episodes are filmed, and what is said of them."""

import logging
from types import SimpleNamespace

import av
import numpy as np
from tests.toy_simulator import LineConfig

from tempovla.recipe.evaluation import videos
from tempovla.recipe.evaluation.plan_pictures import ViewedPlans
from tempovla.recipe.evaluation.plans import EpisodePlans
from tempovla.recipe.evaluation.videos import choose_episodes, film, film_episodes
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


def test_a_log_says_how_many_videos_are_drawn_and_when_they_are(tmp_path, monkeypatch, caplog):
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    arrays = {"observation.images.front": frames, "observation.state": np.zeros((2, 9)), "action": np.zeros((2, 7))}
    played = EpisodeResult(EpisodeSpec("milk", 7), "take the milk", True, 2, 0.0, arrays)
    monkeypatch.setattr(videos, "replay", lambda results, env_config, workers: iter(results))
    caplog.set_level(logging.INFO, "tempovla")
    actor = SimpleNamespace(embodiment=LIBERO_PANDA)
    film_episodes([played], LineConfig(), tmp_path, actor, 1)
    assert caplog.messages == [f"drawing 1 video in {tmp_path}", "1 of 1 videos, the last of milk, seed 7"]
    assert len(list(tmp_path.glob("*.mp4"))) == 1


def test_plans_are_told_in_the_index_and_drawn_where_they_are_seen(tmp_path):
    frames = np.zeros((4, 16, 16, 3), np.uint8)
    arrays = {"observation.images.front": frames, "observation.state": np.zeros((4, 9)), "action": np.zeros((4, 7))}
    result = EpisodeResult(EpisodeSpec("milk", 7), "take the milk", True, 4, 0.0, arrays)
    plans = EpisodePlans(2, 0.9, *(np.zeros((2, 1, 1)), np.zeros((2, 1)), np.ones(2), np.zeros(2)))
    plain, unseen, seen = (tmp_path / name for name in ("plain", "unseen", "seen"))
    alone = film(result, plain, LIBERO_PANDA)
    assert "plans" not in alone
    entry = film(result, unseen, LIBERO_PANDA, viewed=ViewedPlans(plans, {}))
    assert entry == alone | {"plans": plans.to_json()}
    assert (unseen / entry["file"]).read_bytes() == (plain / alone["file"]).read_bytes()
    path = np.array([[[2.0, 8.0], [14.0, 8.0]]] * 2)
    drawn = film(result, seen, LIBERO_PANDA, viewed=ViewedPlans(plans, {"observation.images.front": path}))
    with av.open(seen / drawn["file"]) as video, av.open(plain / alone["file"]) as without:
        pictures, black = ([f.to_ndarray(format="rgb24") for f in each.decode(video=0)] for each in (video, without))
    assert [picture.shape for picture in black] == [(48, 48, 3)] * 2
    assert [picture.shape for picture in pictures] == [(384, 384, 3)] * 2
    assert pictures[0][192, 96, 0] > 150
    assert max(picture.max() for picture in black) < 10
