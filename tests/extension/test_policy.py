"""The policy of the how-to page: lawful, trained, resumed, evaluated and loaded by its name."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from tests import recordings
from tests.extension.pages import BRIEFLY, FENCE, Page, imported

from tempovla.cli.main import help_text
from tempovla.recipe.systems.own_policy import register_policy
from tempovla.timeline.bundle import Bundle

PAGE = Page("add-a-policy")


def test_the_policy_of_the_page_keeps_the_laws(folder):
    PAGE.write(folder)
    assert PAGE.run_tests(folder) == 1


def test_the_command_line_trains_and_evaluates_it_and_python_loads_it(tabletop, folder, tempovla):
    PAGE.write(folder)
    trained, evaluated = PAGE.run_commands(tempovla, train=[*BRIEFLY, "--training.save_interval_steps", "1"])
    assert re.search(r"^  train reflex +train a linear policy$", help_text(""), re.MULTILINE)
    assert "2 steps" in trained.out
    assert "action 0" in evaluated.out
    scope: dict[str, Any] = {}
    exec(PAGE.usage, scope)
    policy = scope["policy"]
    assert policy.action_horizon == 8
    assert policy.step({"observation.state": np.zeros(4, np.float32)}).shape == (4,)
    longer = ["--train_steps", "3", "--training.extend", "continue", "--checkpoint", "outputs/reflex/checkpoint_latest"]
    assert "3 steps" in tempovla(*PAGE.commands[0], *BRIEFLY, *longer).out


def test_a_script_trains_it_and_its_checkpoint_names_the_plugin(tabletop, folder):
    PAGE.write(folder)
    (script,) = [fence["code"] for fence in FENCE.finditer(PAGE.text) if "tempovla.train(" in fence["code"]]
    scope: dict[str, Any] = {}
    exec(script, scope)
    assert scope["result"].train_step == 2
    assert Bundle.load(scope["result"].checkpoint).provenance["plugins"] == ["my_reflex"]


def test_a_dataset_of_other_sizes_is_refused_with_the_place_to_change(folder, fails):
    recordings.record(folder / "data")
    PAGE.write(folder)
    message = fails("--plugin", "my_reflex", "train", "reflex", "--dataset", "data")
    assert message == (
        "data: stream 'observation.state' has shape (3,), stream 'action' has shape (2,); set the shape of "
        "'observation.state' in ReflexConfig.streams() to (3,) and the shape of 'action' in ReflexConfig.streams() to "
        "(2,)"
    )


def test_names_that_are_taken_or_none_are_refused(folder):
    PAGE.write(folder)
    module = imported("my_reflex")
    for name, what in (("smolvla", "taken already"), ("align", "taken already"), ("my reflex", "is no name")):
        with pytest.raises(ValueError, match=f"Reflex: .*{what}"):
            register_policy(name, module.Reflex, module.ReflexConfig, "")
    with pytest.raises(ValueError, match="dict is no dataclass; decorate it"):
        register_policy("reflex", module.Reflex, dict, "")
    recipe = register_policy("reflex", module.Reflex, module.ReflexConfig, "registered anew, as in a notebook")
    assert recipe().model == module.ReflexConfig()
    assert json.dumps(recipe.__name__) == '"ReflexRecipe"'
