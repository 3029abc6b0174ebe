"""The format of the how-to page: recognised, inspected, trained on and evaluated by every command."""

from __future__ import annotations

import numpy as np
import pytest
from tests.extension.pages import BRIEFLY, Page

PAGE = Page("add-a-dataset")


@pytest.fixture
def episodes(folder) -> str:
    """A folder of five episodes."""
    PAGE.write(folder)
    root, random = folder / "outputs" / "episodes", np.random.default_rng(0)
    root.mkdir(parents=True)
    for index in range(5):
        rows = {"state": random.normal(size=(9, 3)), "action": random.normal(size=(9, 2))}
        pictures = random.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
        np.savez(root / f"{index}.npz", **rows, front=pictures, instruction="wave")
    return "outputs/episodes"


def test_the_format_of_the_page_keeps_the_laws(folder):
    PAGE.write(folder)
    assert PAGE.run_tests(folder) == 1


def test_every_command_opens_it(episodes, tempovla):
    inspected, *_ = PAGE.run_commands(tempovla, train=BRIEFLY)
    assert inspected.out.startswith(f"{episodes}: npz, 10 fps, robot my_arm\n5 episodes, 45 frames\n")


def test_a_folder_of_no_format_is_told_all_of_them(episodes, folder, tempovla, fails):
    (folder / "empty").mkdir()
    message = fails("--plugin", "my_format", "data", "inspect", "empty")
    assert "not a LeRobot dataset" in message
    assert "nor of the format npz" in message
    (folder / episodes / "5.npz").write_bytes((folder / episodes / "0.npz").read_bytes())
    np.savez(folder / episodes / "6.npz", state=np.zeros((9, 3)))
    assert "6.npz: lacks ['action', 'front', 'instruction']; record the episode again" in fails(
        "data", "inspect", episodes
    )
