"""The sensor of the how-to page: recorded, read beside the state, normalised, and needed in control."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.extension.pages import BRIEFLY, FENCE, Page
from tests.in_process import simulators_in_process

from tempovla.data.lerobot import open_dataset
from tempovla.timeline.bundle import Bundle

PAGE = Page("add-a-sensor")
RECORD = next(fence["code"] for fence in FENCE.finditer(PAGE.text) if "DatasetWriter" in fence["code"])


@pytest.fixture
def force(folder) -> str:
    """What the page records."""
    PAGE.write(folder)
    exec(RECORD, {})
    return "outputs/force"


def test_the_policy_of_the_page_keeps_the_laws(folder):
    PAGE.write(folder)
    assert PAGE.run_tests(folder) == 1


def test_the_force_is_inspected_learned_from_normalised_and_needed_in_control(force, tempovla):
    inspected, *_ = PAGE.run_commands(tempovla, train=BRIEFLY)
    assert "observation.force" in inspected.out
    (step,) = [
        step
        for step in Bundle.load("outputs/touch/checkpoint_latest").transform["steps"]
        if step["name"] == "normalize"
    ]
    mean = open_dataset(force).statistics["observation.force"]["mean"]
    np.testing.assert_allclose(step["offset"]["observation.force"], mean, rtol=1e-6)
    scope: dict[str, Any] = {}
    exec(PAGE.usage, scope)
    assert scope["action"].shape == (4,)
    policy = scope["policy"]
    state = {"observation.state": np.zeros(4, np.float32)}
    with pytest.raises(ValueError, match=r"the observation lacks \['observation.force'\]"):
        policy.step(state)
    felt = [policy.step(state | {"observation.force": np.full(3, newton, np.float32)}) for newton in (0.0, 50.0)]
    assert not np.allclose(*felt)


def test_a_dataset_without_the_force_or_with_another_one_is_refused(force, folder, fails):
    train = ["--plugin", "my_touch", "train", "touch", "--dataset", force, "--model.force_dim", "6"]
    assert fails(*train) == (
        f"{force}: stream 'observation.force' has shape (3,), but the model reads (6,); set its shape in streams() to "
        "the dataset's"
    )
    info = folder / force / "meta" / "info.json"
    renamed = json.loads(info.read_text())
    renamed["features"]["observation.torque"] = renamed["features"].pop("observation.force")
    info.write_text(json.dumps(renamed))
    assert "no stream 'observation.force'" in fails(*train)


def test_a_stream_that_is_read_must_be_named(force, folder, fails):
    code = PAGE.files["my_touch.py"]
    unnamed = "sizes = {STATE: self.state_dim}"
    assert "sizes = {STATE: self.state_dim, FORCE: self.force_dim}" in code
    PAGE.write(folder, my_touch=code.replace("sizes = {STATE: self.state_dim, FORCE: self.force_dim}", unnamed))
    assert fails("--plugin", "my_touch", "train", "touch", "--dataset", force, *BRIEFLY) == (
        "Touch.windows() reads 'observation.force', which TouchConfig.streams() does not name; add its StreamSpec there"
    )


FEELING = """
from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box, Dict
from my_point import PointConfig, PointEnv

from tempovla.env.registry import SIMULATOR_REGISTRY


class FeelingEnv(PointEnv):
    @property
    def force(self):
        return np.array([*self.place, self.steps], np.float32)

    {observe}


@dataclass(frozen=True)
class FeelingConfig(PointConfig):
    render: bool = False

    def make(self):
        return FeelingEnv(self)

    {spaces}


SIMULATOR_REGISTRY["feeling"] = (FeelingConfig, "the point that feels")
"""
"""A simulator with a force, made with the methods of the page."""


def test_a_simulator_that_observes_the_force_is_collected_from_and_evaluated_in(folder, tempovla):
    pytest.importorskip("gymnasium")
    (methods,) = [fence["code"] for fence in FENCE.finditer(PAGE.text) if "def observe(self)" in fence["code"]]
    spaces, observe = (part.strip().replace("\n", "\n    ") for part in methods.split("\n\n"))
    Page("add-an-environment").write(folder)
    PAGE.write(folder)
    (folder / "my_feeling.py").write_text(FEELING.format(spaces=spaces, observe=observe))
    plugins = ["--plugin", "my_feeling", "--plugin", "my_touch"]
    sizes = ["--model.state_dim", 2, "--model.action_dim", 2]
    with simulators_in_process():
        for line in (
            ["collect", "feeling", "--episodes", 1, "--workers", 1, "--out", "felt"],
            ["train", "touch", "--dataset", "felt", "--out", "run", *sizes, "--data.train_split", 1, *BRIEFLY],
            ["eval", "feeling", "--checkpoint", "run/checkpoint_latest", "--episodes", 1, "--workers", 1, "--json"],
        ):
            answer = tempovla(*plugins, *line)
            assert answer.code == 0, answer.err
    assert open_dataset("felt").streams["observation.force"].shape == (3,)
    assert json.loads(answer.out)["title"] == "touch on the point in the plane"
