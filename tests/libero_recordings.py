"""Small made-up demonstrations in LIBERO's layout, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempovla.data.libero_hdf5 import LiberoHdf5Source
from tempovla.data.libero_layout import EE_STATE_KEY
from tempovla.data.libero_writer import LiberoEpisodeExtras, LiberoHdf5Writer
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

AGENT, WRIST = "observation.images.agentview_rgb", "observation.images.eye_in_hand_rgb"
SOUP, MILK = "pick_up_the_alphabet_soup_and_place_it_in_the_basket", "pick_up_the_milk_and_place_it_in_the_basket"


def instruction(task: str) -> str:
    return task.replace("_", " ")


def episode(index: int, length: int = 12, size: int = 16) -> dict[str, np.ndarray]:
    """Arrays of one episode; every value tells its episode and step."""
    generator = np.random.default_rng(index)
    action = generator.uniform(-1, 1, (length, 7)).astype(np.float32)
    action[:, 6] = np.where(np.arange(length) < length // 2, -1.0, 1.0)
    return {
        STATE_KEY: (generator.normal(size=(length, 9)) + 10 * index).astype(np.float32),
        ACTION_KEY: action,
        EE_STATE_KEY: generator.normal(size=(length, 6)).astype(np.float32),
        AGENT: generator.integers(0, 256, (length, size, size, 3), np.uint8),
        WRIST: generator.integers(0, 256, (length, size, size, 3), np.uint8),
    }


def extras(length: int, task: str = SOUP) -> LiberoEpisodeExtras:
    return LiberoEpisodeExtras(
        states=np.arange(length * 4, dtype=np.float64).reshape(length, 4),
        model_xml="<mujoco/>",
        bddl_file=f"somewhere/bddl_files/libero_object/{task}.bddl",
        env_name="Libero_Floor_Manipulation",
        env_kwargs={"robots": ["Panda"], "control_freq": 20},
    )


def record(
    folder: Path, lengths: tuple[int, ...] = (12, 7, 9), tasks: tuple[str, ...] = (SOUP, MILK), size: int = 16, **more
) -> list[dict[str, np.ndarray]]:
    """Episodes of these lengths, of the tasks in turn; returns what was recorded, in the order in which it is read."""
    recorded: dict[str, list[dict[str, np.ndarray]]] = {task: [] for task in tasks}
    with LiberoHdf5Writer(folder, **more) as writer:
        for index, length in enumerate(lengths):
            task = tasks[index % len(tasks)]
            recorded[task].append(episode(index, length, size))
            writer.add_episode(task, instruction(task), recorded[task][-1], extras(length, task))
    return [frames for task in sorted(tasks) for frames in recorded[task]]


def assert_equal_to(source: LiberoHdf5Source, episodes: list[dict[str, np.ndarray]]) -> None:
    assert [source.episode(i).length for i in range(len(source))] == [len(e[ACTION_KEY]) for e in episodes]
    for i, frames in enumerate(episodes):
        for key, expected in frames.items():
            value, valid = source.read(i, key, range(len(expected)))
            assert valid.all()
            assert value.dtype == expected.dtype
            np.testing.assert_array_equal(value, expected)


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.hdf5")
    return path
