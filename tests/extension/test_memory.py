"""The memory of the how-to page: lawful, known to the command line, a part of a policy, named by its bundle."""

from __future__ import annotations

import pytest
import torch
import yaml
from tests.extension.pages import BRIEFLY, Page, imported

import tempovla as package
from tempovla.model.temporal import context_config
from tempovla.model.temporal.context import ContextModule, Frames
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.timeline.config import config_from_json, config_to_json

PAGE = Page("add-a-memory")
SHORT = ["--model.context.sequence_length", "3", "--model.action_horizon", "4"]


def test_the_memory_of_the_page_keeps_the_laws(folder):
    PAGE.write(folder)
    assert PAGE.run_tests(folder) == 1


def test_the_command_line_trains_and_evaluates_it_and_python_loads_it(tabletop, folder, tempovla):
    PAGE.write(folder)
    PAGE.run_commands(tempovla, train=[*BRIEFLY, *SHORT])
    policy = package.load("outputs/average/checkpoint_latest")
    assert policy.actor.policy.context.config.memory.steps == 20
    assert policy.frame_stride == 4
    exported = package.load("outputs/average.pt")
    assert exported.frame_stride == 4


def test_the_command_line_knows_its_options_and_refuses_others(folder, tempovla, fails):
    PAGE.write(folder)
    options = ["--model.context.memory.kind", "average", "--model.context.memory.steps", "20", "--print_config"]
    printed = tempovla("--plugin", "my_memory", "train", "vla", "--config", "vla_metaworld", *options).out
    assert yaml.safe_load(printed)["model"]["context"]["memory"] == {
        "kind": "average",
        "steps": 20,
        "hidden_dim": None,
        "num_heads": 8,
    }
    fails("train", "vla", "--config", "vla_metaworld", "--model.context.memory.stps", "20")


def test_a_policy_remembers_by_it_step_by_step_as_over_a_sequence(folder):
    PAGE.write(folder)
    imported("my_memory")
    config = ContextConfig(memory={"kind": "average", "steps": 4}, stride=1)
    assert config_from_json(ContextConfig, config_to_json(config)) == config
    module = ContextModule(config, feature_dim=16, action_dim=2).eval()
    valid = torch.ones(2, 5, dtype=torch.bool)
    frames = Frames(torch.randn(2, 5, 16), valid, torch.zeros(2, 5, 2), valid)
    whole, _ = module.run(frames, module.initial_state(2))
    state = module.initial_state(2)
    for step in range(5):
        said, state = module.run(frames.part(step, step + 1), state)
        torch.testing.assert_close(said[:, 0], whole[:, step])


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match="WorkingMemoryConfig is registered as 'working' already; choose another name"):
        context_config.register_memory(type("Other", (), {"kind": "working"}), MEMORY_REGISTRY["working"][1])
    with pytest.raises(ValueError, match=r"Other\.kind=None is no name; give it a field kind"):
        context_config.register_memory(type("Other", (), {}), MEMORY_REGISTRY["working"][1])
