"""What is wrong inside a value that is a config of its own, `model.context`, in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tempovla.model.sensor.config import LatentGeometryConfig
from tempovla.model.temporal.memory.config import WorkingMemoryConfig
from tempovla.model.vlm.config import VisionEncoderConfig
from tempovla.recipe.settings.parser import build_parser
from tempovla.recipe.settings.recipe_parser import read_recipe
from tempovla.recipe.systems.registry import find_system

FREE = "--model"
TRAIN = ["train", "vla", "--config", Path(__file__).resolve().parents[4] / "configs" / "vla_metaworld.yaml"]
CONTEXT = "--model.context"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            [f"{CONTEXT}.temporal.hiden_dim", 64],
            "keys ['hiden_dim'] are unknown to TemporalPartConfig; did you mean",
        ),
        ([f"{CONTEXT}.temporal", "{hiden_dim: 64}"], "model.context.temporal: keys ['hiden_dim'] are unknown to Tempo"),
        (
            [f"{CONTEXT}.temporal.hidden_dim", "wide"],
            "model.context.temporal.hidden_dim is 'wide'; it must be a wh",
        ),
        ([f"{CONTEXT}.temporal.encoder_type", "lstn"], "encoder_type='lstn' is unknown; did you mean 'lstm'? choose"),
        ([f"{CONTEXT}.memory", "{kind: workin}"], "model.context.memory.kind='workin' is unknown; did you mean 'worki"),
        (
            [f"{CONTEXT}.memory.kind", "working", f"{CONTEXT}.memory.memory_slts", 3],
            "model.context.memory: keys ['memory_slts'] are unknown to WorkingMemoryConfig; did you mean 'memory_slo",
        ),
        ([f"{CONTEXT}.strde", 3], "model.context: keys ['strde'] are unknown to ContextConfig; did you mean 'stride'?"),
        ([f"{CONTEXT}.temporal", "lstm"], "model.context.temporal is 'lstm'; it must be an object"),
    ],
)
def test_what_is_wrong_in_a_context_is_said_in_one_line(fails, options, message):
    told = fails(*TRAIN, *options)
    assert message in told
    assert "Union" not in told


def test_a_mistake_in_a_file_is_said_with_the_file(tmp_path, fails):
    (tmp_path / "mine.yaml").write_text("model: {context: {temporal: {encoder_type: lstn}}}\n")
    told = fails(*TRAIN, "--config", tmp_path / "mine.yaml")
    assert told.startswith(f"{tmp_path / 'mine.yaml'}: encoder_type='lstn' is unknown; did you mean 'lstm'?")


def test_a_part_that_is_given_as_a_whole_takes_the_place_of_the_one_in_the_file(tempovla, tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {context: {temporal: {dropout: 0.0, num_layers: 1}, stride: 2}}\n")
    whole = ["--model.context.temporal", "{encoder_type: gru}", "--model.context.burn_in", 3, "--print_config"]
    context = yaml.safe_load(tempovla(*TRAIN, "--config", tmp_path / "mine.yaml", *whole).out)["model"]["context"]
    assert (context["stride"], context["burn_in"]) == (2, 3)
    assert [context["temporal"][name] for name in ("encoder_type", "dropout", "num_layers")] == ["gru", 0.1, 4]


def test_another_kind_of_memory_has_its_own_options(tempovla, tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {context: {memory: {kind: working, memory_slots: 3}}}\n")
    other = ["--model.context.memory.kind", "hierarchical", "--model.context.memory.long_term_slots", 9]
    printed = tempovla(*TRAIN, "--config", tmp_path / "mine.yaml", *other, "--print_config").out
    memory = yaml.safe_load(printed)["model"]["context"]["memory"]
    assert (memory["kind"], memory["long_term_slots"], memory["short_term_slots"]) == ("hierarchical", 9, 32)


MEMORY = f"{CONTEXT}.memory"
BUFFER = "{kind: buffer, memory_size: 10, hidden_dim: 64, num_heads: 4}"
NEW_HIERARCHY = {"kind": "hierarchical", "hidden_dim": None, "num_heads": 8, "short_term_slots": 32}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([f"{MEMORY}.kind", "hierarchical"], NEW_HIERARCHY),
        ([f"{MEMORY}.kind=working", f"{MEMORY}.memory_slots=8"], {"kind": "working", "memory_slots": 8}),
        ([f"{MEMORY}.memory_slots=8", f"{MEMORY}.kind=working"], {"kind": "working", "memory_slots": 8}),
        ([f"{MEMORY}.memory_slots", 8, "--lambda_temporal", 0, f"{MEMORY}.kind", "working"], {"memory_slots": 8}),
        ([MEMORY, "{kind: hierarchical}"], NEW_HIERARCHY),
        ([CONTEXT, "{memory: {kind: hierarchical}}"], NEW_HIERARCHY),
        (["--config", "overlay.yaml"], NEW_HIERARCHY | {"short_term_slots": 5}),
        (["--config", "overlay.yaml", f"{MEMORY}.num_heads", 2], {"short_term_slots": 5, "num_heads": 2}),
        (["--config", "overlay.yaml", f"{MEMORY}.kind", "buffer"], {"kind": "buffer", "memory_size": 1000}),
        (["--config", "overlay.yaml", "--config", "heads.yaml"], NEW_HIERARCHY | {"num_heads": 2}),
        ([MEMORY, "{num_heads: 2}"], {"kind": "buffer", "num_heads": 2, "memory_size": 1000}),
        (["--memory-kind", "hierarchical"], NEW_HIERARCHY | {"hidden_dim": 64, "num_heads": 4}),
    ],
)
def test_another_kind_drops_the_options_of_the_kind_in_the_file(tempovla, tmp_path, monkeypatch, options, expected):
    monkeypatch.chdir(tmp_path)
    texts = {"mine": BUFFER, "overlay": "{kind: hierarchical, short_term_slots: 5}", "heads": "{num_heads: 2}"}
    for name, memory in texts.items():
        Path(f"{name}.yaml").write_text(f"model: {{context: {{memory: {memory}, stride: 2}}}}\n")
    answer = tempovla(*TRAIN, "--config", "mine.yaml", *options, "--print_config")
    assert answer.code == 0, answer.err
    context = yaml.safe_load(answer.out)["model"]["context"]
    assert context["memory"] | expected == context["memory"]
    assert context["stride"] == 2


def test_a_kind_that_is_given_again_and_a_config_behind_it_count_in_their_order(tempovla, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"model: {{context: {{memory: {BUFFER}}}}}\n")
    twice = [f"{MEMORY}.kind", "working", f"{MEMORY}.kind", "hierarchical", f"{MEMORY}.long_term_slots", 9]
    for arguments, expected in (
        (twice, {"kind": "hierarchical", "long_term_slots": 9}),
        ([f"{MEMORY}.kind", "working", "--config", tmp_path / "mine.yaml"], {"kind": "buffer", "memory_size": 10}),
    ):
        printed = tempovla(*TRAIN, *arguments, "--print_config")
        memory = yaml.safe_load(printed.out)["model"]["context"]["memory"]
        assert memory | expected == memory


def test_the_kind_counts_in_the_settings_of_python_too(tmp_path):
    (tmp_path / "mine.yaml").write_text(f"model: {{context: {{memory: {BUFFER}}}}}\n")
    settings = {"model.context.memory.memory_slots": 8, "model.context.memory.kind": "working"}
    recipe = read_recipe("vla", find_system("vla"), tmp_path / "mine.yaml", settings)
    assert recipe.model.context.memory == WorkingMemoryConfig(memory_slots=8)


SAGR = TRAIN[-1].with_name("sagr_metaworld.yaml")
GEOMETRY = "model.geometry"
METRES = "geometry.max_depth=-1.0 must be above 0, or null for no limit"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({f"{GEOMETRY}.max_depth": -1}, METRES),
        ({GEOMETRY: {"kind": "depth", "max_depth": -1}}, METRES),
        ({f"{GEOMETRY}.frame": "world", f"{GEOMETRY}.scale": "relative"}, "geometry.frame='world' needs metric depth"),
        ({f"{GEOMETRY}.tokens.grid": 0}, "model.geometry.tokens.grid=0 must be at least 1"),
        ({f"{GEOMETRY}.tokens.grid": "x"}, "model.geometry.tokens.grid is 'x'; it must be a whole number"),
        ({GEOMETRY: {"kind": "depth", "foo": 1}}, "model.geometry: keys ['foo'] are unknown to DepthGeometryConfig"),
        ({f"{GEOMETRY}.max_dept": 1}, "keys ['max_dept'] are unknown to DepthGeometryConfig; did you mean 'max_depth'"),
        ({GEOMETRY: {"kind": "depht"}}, "model.geometry.kind='depht' is unknown; did you mean 'depth'?"),
        ({GEOMETRY: 3}, "model.geometry is 3; it must be an object"),
    ],
)
def test_what_is_wrong_in_one_of_several_configs_is_said_in_one_line(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        read_recipe("sagr", find_system("sagr"), SAGR, settings)
    assert "\n" not in str(refused.value)
    assert not str(refused.value).startswith(str(SAGR))  # which is not to blame


@pytest.mark.parametrize("part", ["{kind: latent, frame: world}", "{foo: 1}", "{kind: depth, max_depth: -1}"])
def test_what_is_wrong_in_one_of_several_configs_of_a_file_is_said_with_the_file(tmp_path, part):
    (tmp_path / "mine.yaml").write_text(f"model: {{geometry: {part}}}\n")
    with pytest.raises(ValueError, match=r"^\S*mine\.yaml: (model\.)?geometry[^\n]*$"):
        read_recipe("sagr", find_system("sagr"), tmp_path / "mine.yaml", {})


@pytest.mark.parametrize(
    "settings",
    [
        {GEOMETRY: {"kind": "latent", "vision": {"model_name": "dinov2-small"}}},
        {f"{GEOMETRY}.kind": "latent", f"{GEOMETRY}.vision.model_name": "dinov2-small"},
    ],
)
def test_another_kind_of_geometry_begins_with_its_own_options(settings):
    geometry = read_recipe("sagr", find_system("sagr"), SAGR, settings).model.geometry
    assert geometry == LatentGeometryConfig(vision=VisionEncoderConfig("dinov2-small"))


def test_an_option_of_a_geometry_leaves_the_others_of_the_file():
    geometry = read_recipe("sagr", find_system("sagr"), SAGR, {f"{GEOMETRY}.max_depth": 2}).model.geometry
    assert (geometry.max_depth, geometry.tokens.grid) == (2.0, 4)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (
            [f"{FREE}.planner.kind", "cem", f"{FREE}.planner.horizon", "5", f"{FREE}.planner.max_std=1e-1"],
            {"planner": {"kind": "cem", "horizon": 5, "max_std": 0.1}},
        ),
        ([f"{FREE}.plans", "true", f"{FREE}.planner.horizon", "5"], {"plans": True, "planner": {"horizon": 5}}),
        (
            [FREE, "{planner: {kind: cem, horizon: 5}}", f"{FREE}.planner.horizon", "6"],
            {"planner": {"kind": "cem", "horizon": 6}},
        ),
        ([f"{FREE}.threshold", "high"], {"threshold": "high"}),
    ],
)
def test_several_free_keys_with_dots_are_gathered_and_read(options, found):
    parser = build_parser("eval", "Evaluate.", "[options]", "")
    parser.add_argument(FREE, type=dict[str, Any])
    assert parser.parse_args(options).model == found
