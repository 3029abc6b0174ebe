"""The loop of docs/how-to/train-on-your-robot.md acts, with a checkpoint and with an exported file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.contract.registry import WRIST
from tests.contract.toys import FRONT, STATE
from tests.docs.test_snippets import snippets
from tests.unit.export.bundles import BODY, INSTRUCTIONS, save

from tempovla.control.controller import Controller
from tempovla.control.exported.policy import ExportedPolicy
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.timeline import Bundle

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "train-on-your-robot.md"


class Robot:
    """Remembers what it was told to do, and is done after twelve steps or more."""

    def __init__(self) -> None:
        self.actions: list[np.ndarray] = []

    def observe(self) -> dict[str, np.ndarray]:
        pictures = {FRONT: np.zeros((21, 27, 3), np.uint8), WRIST: np.zeros((32, 32, 3), np.uint8)}
        return pictures | {STATE: np.full(BODY.state_dim, len(self.actions), np.float32)}

    def step(self, action: np.ndarray) -> dict[str, np.ndarray]:
        self.actions.append(action)
        return self.observe()

    def is_done(self) -> bool:
        return len(self.actions) >= 12


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("run"), "gaussian")


@pytest.mark.parametrize("exported", [False, True])
def test_the_loop_of_the_page_acts_chunk_by_chunk(checkpoint, exported, tmp_path):
    page: dict = {"__name__": "snippet"}
    exec(compile(snippets(PAGE), PAGE, "exec"), page)
    if exported:
        actor = ExportedPolicy(export_checkpoint(checkpoint, tmp_path / "p.pt", ExportConfig("torchscript")).file)
    else:
        actor = Controller.from_bundle(Bundle.load(checkpoint))
    robot, short = Robot(), Robot()
    page["run_episode"](actor, robot, INSTRUCTIONS[0], execution_horizon=3)
    page["run_episode"](actor, short, INSTRUCTIONS[0], execution_horizon=5)
    assert (len(robot.actions), len(short.actions)) == (12, 15)  # as much of each chunk as was asked for
    assert all(action.shape == (BODY.action_dim,) and np.isfinite(action).all() for action in robot.actions)
    np.testing.assert_allclose(robot.actions[:3], short.actions[:3], rtol=1e-5, atol=1e-5)  # of the same first decision
