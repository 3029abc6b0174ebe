"""What a dataset of the memory benchmark says of itself, with the simulator stood in for."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from tempovla.data.errors import DatasetError
from tempovla.data.writer import held_dataset
from tempovla.env.collect import Demonstration
from tempovla.env.memory import MemoryConfig
from tempovla.recipe.collection import collect
from tempovla.recipe.collection.collect import collect_dataset, collect_memory
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

SHORT = MemoryConfig(cue_steps=3, delay_steps=6)
RECORDING = {"simulator": "memory", "cue_steps": 3, "delay_steps": 6}


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
            collect_memory(tmp_path / "data", ["colour-cue"], 3, 0, SHORT)
    source = collect_dataset(tmp_path / "data", ["push-v3"], 2, 1)
    assert (len(source), source.recording) == (2, {})
    with pytest.raises(ValueError, match="seed was 1, and is 2 now; choose another folder, or repeat the call"):
        collect_dataset(tmp_path / "data", ["push-v3"], 2, 2)


def test_a_memory_dataset_tells_how_long_cues_and_delays_are(tmp_path):
    source = collect_memory(tmp_path / "data", ["colour-cue"], 2, 0, SHORT)
    assert (len(source), source.recording) == (2, RECORDING)


def test_metaworlds_datasets_have_nothing_of_the_kind_to_tell(tmp_path):
    assert collect_dataset(tmp_path / "data", ["push-v3"], 1, 0).recording == {}


@pytest.mark.parametrize("told", [True, False])
def test_an_interrupted_dataset_is_gone_on_with_as_it_is(tmp_path, demonstrated, told):
    """Also one from when datasets did not tell: what was asked for is the same, as meta/collect.json says."""
    demonstrated["most"] = 1
    with pytest.raises(KeyboardInterrupt):
        collect_memory(tmp_path / "data", ["colour-cue"], 3, 0, SHORT)
    if not told:
        (tmp_path / "data" / "meta" / "recording.json").unlink()
    demonstrated["most"] = 99
    source = collect_memory(tmp_path / "data", ["colour-cue"], 3, 0, SHORT)
    assert (len(source), source.recording) == (3, RECORDING if told else {})
    with pytest.raises(ValueError, match="delay_steps was 6, and is 7 now"):
        collect_memory(tmp_path / "data", ["colour-cue"], 3, 0, MemoryConfig(cue_steps=3, delay_steps=7))


def test_a_second_call_into_one_folder_is_told_who_is_there(tmp_path):
    folder = tmp_path / "set"
    with (
        held_dataset(folder),
        pytest.raises(DatasetError, match=r"set: this process writes .* choose another"),
    ):
        collect_dataset(folder, ["push-v3"], 1, 0)
    assert len(collect_dataset(folder, ["push-v3"], 1, 0)) == 1
    assert not (folder / ".lock").exists()
