"""Law 8 on LIBERO: what training reads from the HDF5 file is what control was shown in the simulator."""

from pathlib import Path

import numpy as np
import pytest

from tempovla.data.libero_hdf5 import open_libero
from tempovla.data.libero_layout import CAMERAS
from tempovla.data.libero_writer import LiberoEpisodeExtras, LiberoHdf5Writer
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

TASK = "pick_up_the_butter_and_place_it_in_the_basket"


@pytest.mark.sim
def test_law_8_the_file_gives_back_what_the_simulator_showed(tmp_path: Path, libero_assets: Path) -> None:
    from tempovla.env.libero import LiberoConfig

    env = LiberoConfig(task=TASK, image_size=64, rendering="fast").make()
    generator = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    seen, states = [], []
    for _ in range(4):
        action = generator.uniform(-1, 1, 7).astype(np.float32)
        seen.append(observation | {ACTION_KEY: action})
        states.append(env.simulation.state)
        observation, *_ = env.step(action)
    steps = {key: np.stack([moment[key] for moment in seen]) for key in (STATE_KEY, ACTION_KEY, *CAMERAS)}
    with LiberoHdf5Writer(tmp_path) as writer:
        writer.add_episode(TASK, env.instruction, steps, LiberoEpisodeExtras(states=np.stack(states)))
    source = open_libero(tmp_path)
    assert source.episode(0).instruction == env.instruction
    assert source.embodiment.action_dim == env.action_space.shape[0]
    for key, expected in steps.items():
        value, valid = source.read(0, key, range(4))
        assert valid.all()
        np.testing.assert_array_equal(value, expected)
        assert len(np.unique(value)) > 4
