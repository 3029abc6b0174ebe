"""The sensor of the how-to page: recorded, read beside the state, normalised, and needed in control."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.extension.pages import BRIEFLY, FENCE, Page

import tempovla as package
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
    checkpoint = "outputs/touch/checkpoint_latest"
    (step,) = [step for step in Bundle.load(checkpoint).transform["steps"] if step["name"] == "normalize"]
    mean = open_dataset(force).statistics["observation.force"]["mean"]
    np.testing.assert_allclose(step["offset"]["observation.force"], mean, rtol=1e-6)
    policy = package.load(checkpoint)
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
