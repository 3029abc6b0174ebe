"""The action head of the how-to page: registered, lawful, trained and loaded; and one that trains on padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.extension.pages import BRIEFLY, Page, imported

from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.timeline.bundle import Bundle
from tempovla.timeline.laws import LawViolation

PAGE = Page("add-an-action-head")
RIGHT = '        return {"action_loss": LossTerm(self.sample(features, feature_valid=feature_valid), clean, valid)}\n'
WRONG = '        return {"action_loss": LossTerm(self.sample(features), actions, torch.ones_like(valid))}\n'


def test_the_head_of_the_page_keeps_the_laws(folder):
    PAGE.write(folder)
    assert PAGE.run_tests(folder) == 1


def test_a_head_that_trains_on_padding_breaks_the_second_law(folder):
    code = PAGE.files["my_head.py"]
    assert WRONG in PAGE.text
    assert code.count(RIGHT) == 1
    PAGE.write(folder, my_head=code.replace(RIGHT, WRONG))
    imported("my_head")
    with pytest.raises(LawViolation) as broken:
        PAGE.run_tests(folder)
    (shown,) = [line for line in PAGE.text.splitlines() if line.startswith("law 2")]
    assert str(broken.value) == shown


def test_the_command_line_trains_and_evaluates_it_and_python_loads_it(tabletop, folder, tempovla):
    PAGE.write(folder)
    PAGE.run_commands(tempovla, train=BRIEFLY)
    bundle = Bundle.load("outputs/linear/checkpoint_latest")
    assert bundle.provenance["plugins"] == ["my_head"]
    assert bundle.config["action_head_options"]["linear"] == {"scale": 0.5}
    scope: dict[str, Any] = {}
    exec(PAGE.usage, scope)
    policy = scope["policy"]
    assert type(policy.actor.policy.action_head).__name__ == "LinearHead"
    pictures = {f"observation.images.{name}": np.zeros((16, 16, 3), np.uint8) for name in ("corner2", "gripperPOV")}
    action = policy.step({"observation.state": np.zeros(4, np.float32), **pictures, "task": "task 0"})
    assert action.shape == (4,)


def test_without_the_plugin_the_checkpoint_names_it(tabletop, folder, tempovla, fails, forget):
    PAGE.write(folder)
    PAGE.run_commands(tempovla, train=BRIEFLY)
    ACTION_HEAD_REGISTRY.pop("linear")
    forget("my_head")
    message = fails("eval", "offline", "--checkpoint", "outputs/linear/checkpoint_latest", "--split", "all")
    assert "needs the plugin 'my_head'" in message
    assert "--plugin my_head" in message
