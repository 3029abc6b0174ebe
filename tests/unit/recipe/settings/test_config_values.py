"""What is wrong inside a value that is a config of its own, `model.context`, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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
