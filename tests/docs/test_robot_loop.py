"""The loops of README, run-on-a-robot.md and examples/robot.py act, with a checkpoint and with an exported file."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.contract.policy_cases import WRIST
from tests.contract.toys import FRONT, STATE
from tests.snippets import FENCE
from tests.unit.export.bundles import BODY, INSTRUCTIONS, save

import tempovla
from tempovla.export.exporter import ExportConfig, export_checkpoint

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "run-on-a-robot.md"


class Robot:
    """Remembers what it was told to do, and is done after twelve steps or more."""

    def __init__(self) -> None:
        self.actions: list[np.ndarray] = []

    def observe(self) -> dict[str, np.ndarray]:
        pictures = {FRONT: np.zeros((21, 27, 3), np.uint8), WRIST: np.zeros((32, 32, 3), np.uint8)}
        return pictures | {STATE: np.full(BODY.state_dim, len(self.actions), np.float32)}

    def move(self, action: np.ndarray) -> None:
        self.actions.append(action)

    def is_done(self) -> bool:
        return len(self.actions) >= 12


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("run"), "gaussian")


@pytest.fixture(scope="module")
def exported(checkpoint) -> Path:
    return export_checkpoint(checkpoint, checkpoint.with_suffix(".pt"), ExportConfig("torchscript")).file


@pytest.fixture
def run_page(checkpoint, tmp_path, monkeypatch) -> Callable[[Path], Robot]:
    """Run every block of a page as it stands, where its checkpoint is; the robot that the page moved."""
    (tmp_path / "outputs" / "run").mkdir(parents=True)
    (tmp_path / "outputs" / "run" / "checkpoint_latest").symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def run(page: Path) -> Robot:
        robot = Robot()
        blocks = [fence["code"] for fence in FENCE.finditer(page.read_text())]
        exec(compile("\n".join(blocks), page, "exec"), {"__name__": "snippet", "robot": robot})
        return robot

    return run


def test_the_readme_acts(run_page):
    robot = run_page(ROOT / "README.md")
    assert len(robot.actions) == 12
    assert all(action.shape == (BODY.action_dim,) and np.isfinite(action).all() for action in robot.actions)


def test_every_block_of_the_page_runs_as_it_stands(run_page, capsys):
    robot = run_page(PAGE)
    assert len(robot.actions) == 12 + 5
    assert all(action.shape == (BODY.action_dim,) and np.isfinite(action).all() for action in robot.actions)
    assert capsys.readouterr().out.startswith("3 decisions of ")  # 12 steps in chunks of 5


@pytest.mark.parametrize("kind", ["checkpoint", "exported"])
def test_the_loop_with_explicit_state_acts_chunk_by_chunk(kind, request):
    page: dict = {"__name__": "snippet"}
    code = next(fence["code"] for fence in FENCE.finditer(PAGE.read_text()) if not fence["mark"])
    exec(compile(code, PAGE, "exec"), page)
    robot, short = Robot(), Robot()
    for each, horizon in ((robot, 3), (short, 5)):
        actor = tempovla.load(request.getfixturevalue(kind), device="cpu").actor
        page["run_episode"](actor, each, INSTRUCTIONS[0], execution_horizon=horizon)
    assert (len(robot.actions), len(short.actions)) == (12, 15)  # as much of each chunk as was asked for
    assert all(action.shape == (BODY.action_dim,) and np.isfinite(action).all() for action in robot.actions)
    np.testing.assert_allclose(robot.actions[:3], short.actions[:3], rtol=1e-5, atol=1e-5)  # of the same first decision


@pytest.mark.parametrize("kind", ["checkpoint", "exported"])
def test_the_example_runs_as_a_program_and_tells_latency_and_rate(kind, request, monkeypatch, capsys):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    policy = str(request.getfixturevalue(kind))
    monkeypatch.setattr(sys, "argv", ["robot.py", policy, INSTRUCTIONS[0], "--steps", "7", "--ensemble", "0.01"])
    runpy.run_path(str(ROOT / "examples" / "robot.py"), run_name="__main__")
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("RobotPolicy(reads 'observation.state', ")
    assert told[1].startswith("7 decisions of ")
    assert told[1].endswith(" Hz of 10 Hz")
