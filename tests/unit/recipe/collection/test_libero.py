"""Demonstrations in both formats: the same episodes, complete whatever interrupted the run, and never mixed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.in_process import simulators_in_process

from tempovla.data.lerobot import open_dataset
from tempovla.data.open import open_source
from tempovla.env.collect import Demonstration, collect_episodes
from tempovla.env.expert import ActionNoise
from tempovla.env.libero import LiberoConfig
from tempovla.recipe.collection import libero as recipe
from tempovla.recipe.collection.collect import Collection, expert_results, experts_of, measure_experts
from tempovla.recipe.collection.libero import asked_for, collect_libero
from tempovla.rollout.metrics import SuccessRate

TASKS = tuple(f"pick_up_the_{name}_and_place_it_in_the_basket" for name in ("tomato_sauce", "orange_juice"))
SETTINGS = {"image_size": 16, "rendering": "fast"}


def small(episodes: int = 1, noise: float | None = None, init_states: Any = None, **settings: Any) -> Collection:
    """A demonstration of each of two tasks in small pictures."""
    env_config = LiberoConfig.for_experts(**SETTINGS | settings)
    return Collection(env_config, TASKS, episodes, 5, experts_of(env_config, noise, init_states))


SMALL = small()


def test_what_is_asked_for_is_kept_as_it_was_in_earlier_folders() -> None:
    assert asked_for(SMALL) == {
        "suite": "libero_object",
        "tasks": list(TASKS),
        "episodes_per_task": 1,
        "seed": 5,
        "image_size": 16,
        "rendering": "fast",
        "noise": 0.3,
        "noise_correlation": 0.8,
        "init_states": "random",
        "joint_noise_rad": 0.02,
    }
    assert SMALL.env_config.max_steps == 200


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"episodes": 0}, "episodes=0 must be at least 1"),
        ({"noise": -0.1}, r"noise=-0\.1 must not be negative; 0 is none"),
        ({"joint_noise_rad": -0.1}, r"joint_noise_rad=-0\.1 must not be negative; 0 is none"),
        ({"init_states": "fixed"}, "init_states='fixed'; choose random or benchmark"),
        ({"rendering": "ugly"}, "rendering='ugly'; choose exact or fast"),
        ({"suite": "libero_goals"}, "did you mean libero_goal"),
        ({"suite": "libero_goal"}, "no scripted expert for libero_goal"),
        ({"image_size": 0}, "image_size=0 must be at least 1"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_written(wrong: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        small(**wrong)


def test_noise_that_would_never_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise_correlation=1\.0 must be at least 0 and less than 1"):
        ActionNoise(correlation=1.0)


def test_a_folder_with_other_demonstrations_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "hdf5").mkdir()
    (tmp_path / "hdf5" / "push_demo.hdf5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"collect\.json: no such file, but there are demonstrations"):
        collect_libero(tmp_path, SMALL)
    (tmp_path / "collect.json").write_text(json.dumps({"asked": asked_for(SMALL), "episodes": {}}))
    with pytest.raises(ValueError, match=r"collect\.json: noise was 0\.3, and is 0\.1 now; choose another folder"):
        collect_libero(tmp_path, small(noise=0.1))


def test_a_call_that_failed_before_its_first_episode_blocks_no_other(tmp_path: Path) -> None:
    record = {"asked": asked_for(SMALL), "episodes": {TASKS[0]: {"0": {}}, TASKS[1]: {}}}
    (tmp_path / "collect.json").write_text(json.dumps(record))
    (tmp_path / "hdf5").mkdir()
    recipe.DatasetWriter(tmp_path / "lerobot", {}, 20.0)
    begun = recipe._opened_record(tmp_path, small(noise=0.1))
    assert begun["asked"]["noise"] == 0.1
    assert begun["episodes"] == {task: {} for task in TASKS}


def test_what_is_there_without_a_gap_is_counted_task_by_task() -> None:
    assert recipe._leading([3, 2, 3], 3) == 5
    assert recipe._leading([3, 3, 3], 3) == 9
    assert recipe._leading([0, 0], 3) == 0


def test_the_experts_figures_count_attempts_and_average_what_succeeded() -> None:
    results = expert_results({"a": SuccessRate(2, 4), "b": SuccessRate(0, 1)}, {"a": [100, 110], "b": []})
    assert results["tasks"]["a"]["success"] == 0.5
    assert results["tasks"]["a"]["ci95"] == pytest.approx([0.15, 0.85], abs=0.01)
    assert results["tasks"]["a"]["mean_steps"] == 105
    assert results["tasks"]["b"]["mean_steps"] is None
    assert results["mean"] | {"ci95": None} == {"success": 0.4, "episodes": 5, "ci95": None, "mean_steps": 105}


@pytest.fixture(scope="module")
def demonstrated() -> list[Demonstration]:
    """What the collected episodes' writers were given."""
    return []


@pytest.fixture(scope="module")
def collected(libero_assets: Path, tmp_path_factory: pytest.TempPathFactory, demonstrated: list[Demonstration]) -> Path:
    """Two demonstrations, of a task each."""

    def noted(*arguments: Any, **options: Any) -> Iterator[Demonstration]:
        for demonstration in collect_episodes(*arguments, **options):
            demonstrated.append(demonstration)
            yield demonstration

    folder = tmp_path_factory.mktemp("libero")
    with simulators_in_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "collect_episodes", noted)
        collect_libero(folder, SMALL, workers=1)
    return folder


@pytest.mark.sim
@pytest.mark.slow
def test_both_formats_hold_the_same_episodes_and_liberos_tools_what_they_want(collected: Path) -> None:
    lerobot, hdf5 = open_dataset(collected / "lerobot"), open_source(collected / "hdf5")
    assert len(lerobot) == len(hdf5) == 2
    tried = json.loads((collected / "collect.json").read_text())["expert"]["tasks"]
    assert [tried[task]["success"] for task in TASKS] == [1, 1]
    assert lerobot.recording == hdf5.recording == SMALL.env_config.recording("libero")
    assert lerobot.recording["rendering"] == "fast"
    spoken = {lerobot.episode(index).instruction: index for index in range(2)}
    for index in range(2):
        there = spoken[hdf5.episode(index).instruction]
        steps = list(range(hdf5.episode(index).length))
        assert lerobot.episode(there).length == len(steps)
        for key in ("observation.state", "action", "next.reward", "next.done"):
            np.testing.assert_array_equal(hdf5.read(index, key, steps)[0], lerobot.read(there, key, steps)[0])
    with h5py.File(collected / "hdf5" / f"{TASKS[0]}_demo.hdf5") as file:
        demo = file["data/demo_0"]
        assert file["data"].attrs["env_name"] == "Libero_Floor_Manipulation"
        assert "(And (In tomato_sauce_1 basket_1_contain_region))" in file["data"].attrs["bddl_file_content"]
        assert demo.attrs["model_file"].startswith("<mujoco")
        np.testing.assert_allclose(demo["states"][:, 1:8], demo["obs/joint_states"], atol=1e-6)
        np.testing.assert_array_equal(demo["executed_actions"][:, 6], demo["actions"][:, 6])
        assert not np.array_equal(demo["executed_actions"], demo["actions"])


@pytest.mark.sim
@pytest.mark.slow
def test_two_workers_and_a_kill_between_the_formats_change_nothing(
    collected: Path, demonstrated: list[Demonstration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that is killed is handed what the fixture's expert showed; the one that goes on simulates the rest."""
    add_episode, added = recipe.DatasetWriter.add_episode, []

    def killed_at_the_second(*arguments: Any) -> int:
        added.append(add_episode(*arguments) if not added else None)
        if added[-1] is None:
            raise KeyboardInterrupt
        return added[-1]

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "collect_episodes", lambda *_, **__: iter(demonstrated))
        patch.setattr(recipe.DatasetWriter, "add_episode", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            collect_libero(tmp_path, SMALL, workers=1)
    assert (len(open_source(tmp_path / "hdf5")), len(open_dataset(tmp_path / "lerobot"))) == (2, 1)
    with simulators_in_process():
        results = collect_libero(tmp_path, SMALL, workers=2)
    assert results == json.loads((collected / "collect.json").read_text())["expert"]
    for task in TASKS:
        name = f"hdf5/{task}_demo.hdf5"
        with h5py.File(collected / name) as there, h5py.File(tmp_path / name) as here:
            assert list(here["data"]) == ["demo_0"]
            for key in ("actions", "states", "obs/agentview_rgb", "obs/eye_in_hand_rgb"):
                np.testing.assert_array_equal(here["data/demo_0"][key], there["data/demo_0"][key])
    assert len(open_dataset(tmp_path / "lerobot")) == 2


@pytest.mark.sim
@pytest.mark.slow
def test_the_expert_is_measured_from_the_benchmarks_states_without_keeping_anything(libero_assets: Path) -> None:
    asked = replace(small(1, noise=0.0, init_states="benchmark"), tasks=TASKS[:1])
    with simulators_in_process():
        measured = measure_experts(asked, workers=1)
    assert measured["mean"]["success"] == 1
    assert measured["mean"]["episodes"] == 1
    assert 80 < measured["tasks"][TASKS[0]]["mean_steps"] < 130
