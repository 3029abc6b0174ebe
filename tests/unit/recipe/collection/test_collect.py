"""What a dataset of the memory benchmark says of itself, with the simulator stood in for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.toy_simulator import LineConfig

pytest.importorskip("gymnasium")

from tempovla.data.errors import DatasetError
from tempovla.data.lerobot import open_dataset
from tempovla.data.writer import held_dataset
from tempovla.env.collect import Demonstration
from tempovla.env.memory import MemoryConfig
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.env.registry import SIMULATOR_REGISTRY
from tempovla.recipe.collection import collect
from tempovla.recipe.collection.collect import Collection, collect_dataset, experts_of
from tempovla.recipe.collection.registry import collect as collect_any
from tempovla.timeline import CameraCalibration
from tempovla.timeline.keys import ACTION_KEY, OUTCOME_KEYS, STATE_KEY
from tempovla.timeline.outcomes import outcomes

SHORT = MemoryConfig(cue_steps=3, delay_steps=6)


def remembered(episodes: int) -> Collection:
    """Demonstrations of the memory benchmark."""
    return Collection(SHORT, ["colour-cue"], episodes)


def pushed(episodes: int, seed: int) -> Collection:
    """Demonstrations in Meta-World."""
    return Collection(MetaWorldConfig.for_experts(), ["push-v3"], episodes, seed)


RECORDING = {"simulator": "memory", "cue_steps": 3, "delay_steps": 6, "house": 0}


@pytest.fixture(autouse=True)
def demonstrated(monkeypatch):
    """How many demonstrations experts are to play at the most before they are interrupted."""
    limit = {"most": 99}

    def episodes(tasks, count, seed, *, skip, **settings):
        jobs = [task for task in tasks for _ in range(count)][skip:]
        steps = {STATE_KEY: np.zeros((5, 4), np.float32), ACTION_KEY: np.ones((5, 4), np.float32)}
        for played, task in enumerate(jobs):
            if played == limit["most"]:
                raise KeyboardInterrupt
            yield Demonstration(task, f"do {task}", 0, None, 1, steps, steps[ACTION_KEY], {}, {})

    monkeypatch.setattr(collect, "collect_episodes", episodes)
    return limit


@pytest.mark.parametrize("failure", [KeyboardInterrupt, DatasetError])
def test_a_call_that_fails_before_its_first_episode_blocks_no_other(tmp_path, monkeypatch, failure):
    def fails(*_):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(collect.DatasetWriter, "add_episode", fails)
        with pytest.raises(failure):
            collect_dataset(tmp_path / "data", remembered(3))
    source = collect_dataset(tmp_path / "data", pushed(2, 1))
    assert (len(source), source.recording) == (2, {})
    with pytest.raises(ValueError, match="seed was 1, and is 2 now; choose another folder, or repeat the call"):
        collect_dataset(tmp_path / "data", pushed(2, 2))


def test_a_memory_dataset_tells_how_long_cues_and_delays_are(tmp_path):
    source = collect_dataset(tmp_path / "data", remembered(2))
    assert (len(source), source.recording) == (2, RECORDING)


def test_metaworlds_datasets_have_nothing_of_the_kind_to_tell(tmp_path):
    assert collect_dataset(tmp_path / "data", pushed(1, 0)).recording == {}


@pytest.mark.parametrize("told", [True, False])
def test_an_interrupted_dataset_is_gone_on_with_as_it_is(tmp_path, demonstrated, told):
    """Also one from when datasets did not tell: what was asked for is the same, as meta/collect.json says."""
    demonstrated["most"] = 1
    with pytest.raises(KeyboardInterrupt):
        collect_dataset(tmp_path / "data", remembered(3))
    if not told:
        (tmp_path / "data" / "meta" / "recording.json").unlink()
    demonstrated["most"] = 99
    source = collect_dataset(tmp_path / "data", remembered(3))
    assert (len(source), source.recording) == (3, RECORDING if told else {})
    with pytest.raises(ValueError, match="delay_steps was 6, and is 7 now"):
        collect_dataset(tmp_path / "data", replace(remembered(3), env_config=MemoryConfig(cue_steps=3, delay_steps=7)))


@pytest.mark.parametrize("told", [True, False])
def test_a_dataset_of_before_rewards_were_recorded_is_gone_on_with_as_it_is(tmp_path, demonstrated, monkeypatch, told):
    demonstrated["most"] = 1
    with pytest.raises(KeyboardInterrupt):
        collect_dataset(tmp_path / "data", remembered(2))
    assert not {*OUTCOME_KEYS} & open_dataset(tmp_path / "data").streams.keys()
    known = {STATE_KEY: np.zeros((5, 4), np.float32), ACTION_KEY: np.ones((5, 4), np.float32)}
    steps = known | outcomes([0.5] * 5, [True] * 5)
    played = [Demonstration("colour-cue", "do it", 0, None, 1, steps, steps[ACTION_KEY], {}, {})]
    monkeypatch.setattr(collect, "collect_episodes", lambda *_, skip, **__: iter(played * (2 - skip)))
    source = collect_dataset(tmp_path / ("data" if told else "new"), remembered(2))
    assert len(source) == 2
    assert source.streams.keys() >= {*OUTCOME_KEYS} or told
    assert bool({*OUTCOME_KEYS} & source.streams.keys()) is not told


def test_a_second_call_into_one_folder_is_told_who_is_there(tmp_path):
    folder = tmp_path / "set"
    with (
        held_dataset(folder),
        pytest.raises(DatasetError, match=r"set: this process writes .* choose another"),
    ):
        collect_dataset(folder, pushed(1, 0))
    assert len(collect_dataset(folder, pushed(1, 0))) == 1
    assert not (folder / ".lock").exists()


def test_other_noise_or_initial_states_are_another_dataset(tmp_path):
    """A folder from when neither could be chosen goes on as it is."""
    louder = replace(pushed(1, 0), experts=experts_of(MetaWorldConfig(), noise=0.2))
    collect_dataset(tmp_path / "loud", louder)
    with pytest.raises(ValueError, match=r"noise was 0\.2, and is the simulator's own now"):
        collect_dataset(tmp_path / "loud", pushed(1, 0))
    collect_dataset(tmp_path / "usual", pushed(1, 0))
    with pytest.raises(ValueError, match=r"noise was the simulator's own, and is 0\.2 now"):
        collect_dataset(tmp_path / "usual", louder)


def test_a_dataset_is_of_the_body_and_the_rate_of_its_simulator(tmp_path, monkeypatch):
    monkeypatch.setitem(SIMULATOR_REGISTRY, "line", (LineConfig, "a line"))
    found = collect_any(tmp_path / "data", Collection(LineConfig.for_experts(), ["left"], 1))
    assert found == {"root": str(tmp_path / "data"), "episodes": 1, "frames": 5, "tasks": ["left"], "seed": 0}
    body = open_dataset(tmp_path / "data").embodiment
    assert (body.name, body.rate_hz) == ("hand", 10.0)


def test_a_simulator_that_is_not_registered_is_named(tmp_path):
    with pytest.raises(ValueError, match="LineConfig is not registered; add a line to SIMULATOR_REGISTRY"):
        collect_any(tmp_path / "data", Collection(LineConfig(), ["left"], 1))


def test_a_request_says_nothing_of_what_it_leaves_as_it_was_before_it_could_be_said():
    assert "house" not in Collection(SHORT, ["lesson"], 1).asked()
    assert Collection(MemoryConfig(house=2), ["lesson"], 1).asked()["house"] == 2


def test_pictures_are_kept_exactly_where_that_is_asked_for():
    steps = {STATE_KEY: np.zeros((5, 4), np.float32), "observation.images.top": np.zeros((5, 8, 8, 3), np.uint8)}
    as_video, exactly = (Collection(SHORT, ["lesson"], 1, pictures=kind) for kind in ("video", "image"))
    assert [feature.dtype for feature in as_video.features(steps).values()] == ["float32", "video"]
    assert [feature.dtype for feature in exactly.features(steps).values()] == ["float32", "image"]
    assert exactly.features(steps)[STATE_KEY].names == MemoryConfig().embodiment.state_names
    assert "pictures" not in as_video.asked()
    assert exactly.asked()["pictures"] == "image"
    with pytest.raises(ValueError, match="pictures='film'; choose video or image"):
        Collection(SHORT, ["lesson"], 1, pictures="film")


def test_a_request_says_which_sensors_are_on():
    assert "depth" not in pushed(1, 0).asked()
    config = MetaWorldConfig.for_experts(depth=True)
    assert Collection(config, ["push-v3"], 1).asked()["depth"] is True


def test_a_dataset_with_depth_has_the_calibrations_of_all_its_episodes(tmp_path, monkeypatch):
    depth, steady = "observation.depth.top", CameraCalibration("observation.depth.top", 8, 8, 4.0, 4.0, 4.0, 4.0)
    steps = {
        STATE_KEY: np.zeros((5, 4), np.float32),
        ACTION_KEY: np.ones((5, 4), np.float32),
        depth: np.full((5, 8, 8, 1), 1.25, np.float32),
    }
    played = [Demonstration("push-v3", "push", 0, None, 1, steps, steps[ACTION_KEY], {}, {}, (steady,))] * 2
    monkeypatch.setattr(collect, "collect_episodes", lambda *_, **__: iter(played))
    source = collect_dataset(tmp_path / "data", pushed(2, 0))
    assert source.embodiment.cameras == (steady,)
    assert source.streams[depth].kind == "depth"
    assert (source.read(1, depth, [4]).value == np.float32(1.25)).all()
