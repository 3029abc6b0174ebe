"""The memory and the temporal encoder of the how-to page, as plugins of the command line and parts of a policy."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tempovla.cli.main import main
from tempovla.model.temporal import context_config
from tempovla.model.temporal.context import ContextModule, Frames
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.timeline.config import config_from_json, config_to_json

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "add-a-memory.md"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module with the first block of each section, which nothing remembers afterwards."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "my_memory_plugin.py").write_text(blocks[0] + blocks[2], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for registry in (MEMORY_REGISTRY, TEMPORAL_REGISTRY):
        for name, entry in list(registry.items()):
            monkeypatch.setitem(registry, name, entry)
        monkeypatch.delitem(registry, "average", raising=False)
    monkeypatch.setattr(context_config, "MemoryOptions", context_config.MemoryOptions)
    yield "my_memory_plugin"
    sys.modules.pop("my_memory_plugin", None)
    for registry in (MEMORY_REGISTRY, TEMPORAL_REGISTRY):
        registry.pop("average", None)


def test_the_command_line_knows_both(plugin, capsys):
    options = ["--model.context.memory.kind", "average", "--model.context.memory.steps", "20"]
    options += ["--use-temporal-encoder", "--temporal-encoder-type", "average", "--print_config"]
    with pytest.raises(SystemExit):
        main(["--plugin", plugin, "train", "vla", "--config", "vla_metaworld", *options])
    context = yaml.safe_load(capsys.readouterr().out)["model"]["context"]
    assert context["memory"] == {"kind": "average", "steps": 20, "hidden_dim": None, "num_heads": 8}
    assert context["temporal"]["encoder_type"] == "average"
    assert main(["train", "vla", "--config", "vla_metaworld", "--model.context.memory.stps", "20"]) == 2
    assert "\n" not in capsys.readouterr().err.strip()


def test_a_policy_remembers_by_them_and_its_bundle_names_them(plugin):
    __import__(plugin)
    config = ContextConfig(
        {"encoder_type": "average", "num_heads": 2}, memory={"kind": "average", "steps": 4}, stride=1
    )
    assert config_from_json(ContextConfig, config_to_json(config)) == config
    module = ContextModule(config, feature_dim=16, action_dim=2).eval()
    valid = torch.ones(2, 5, dtype=torch.bool)
    frames = Frames(torch.randn(2, 5, 16), valid, torch.zeros(2, 5, 2), valid)
    whole, _ = module.run(frames, module.initial_state(2))
    state = module.initial_state(2)
    for step in range(5):
        said, state = module.run(frames.part(step, step + 1), state)
        torch.testing.assert_close(said[:, 0], whole[:, step])


def test_a_name_that_is_taken_is_refused(plugin):
    with pytest.raises(ValueError, match="WorkingMemoryConfig is registered as 'working' already; choose another name"):
        context_config.register_memory(type("Other", (), {"kind": "working"}), MEMORY_REGISTRY["working"][1])
    with pytest.raises(ValueError, match=r"Other\.kind=None is no name; give it a field kind"):
        context_config.register_memory(type("Other", (), {}), MEMORY_REGISTRY["working"][1])
