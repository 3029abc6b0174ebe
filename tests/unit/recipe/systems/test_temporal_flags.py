"""Flags of temporal training on `tempovla train vla`: they fill in `model.context` on top of the config."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tempovla.recipe.systems.temporal_flags import FLAGS, PARTS

CONFIGS = Path(__file__).resolve().parents[4] / "configs"
TRAIN = ["train", "vla", "--config", CONFIGS / "vla_metaworld.yaml"]
TEMPORAL = ["train", "vla", "--config", CONFIGS / "temporal_vla.yaml"]


@pytest.fixture
def printed(tempovla):
    """The model of a command line, as `--print_config` shows it."""

    def run(*arguments: object) -> dict:
        answer = tempovla(*arguments, "--print_config")
        assert answer.code == 0, answer.err
        config = yaml.safe_load(answer.out)
        assert not {flag.lstrip("-").replace("-", "_") for flag in (*FLAGS, *PARTS.values())} & set(config)
        return config["model"]

    return run


def test_the_flags_of_the_reference_command_become_a_context(printed):
    flags = ["--use-temporal-encoder", "--temporal-encoder-type", "transformer", "--sequence-length", 32]
    context = printed(*TRAIN, *flags, "--use-history-encoder", "--history-length", 16)["context"]
    assert (context["temporal"]["encoder_type"], context["temporal"]["hidden_dim"]) == ("transformer", None)
    assert (context["history"]["history_length"], context["history"]["hidden_dim"]) == (16, None)
    assert context["memory"] is None
    assert (context["sequence_length"], context["stride"]) == (32, 4)


@pytest.mark.parametrize(
    ("flags", "memory"),
    [
        (["--use-memory"], {"kind": "buffer"}),
        (["--use-memory", "--memory-size", 50], {"kind": "buffer", "memory_size": 50}),
        (["--use-memory", "--memory-kind", "working", "--memory-size", 5], {"kind": "working", "memory_slots": 5}),
        (
            ["--memory-size=9", "--use-memory", "--memory-kind=hierarchical"],
            {"kind": "hierarchical", "long_term_slots": 9},
        ),
    ],
)
def test_a_memory_is_a_buffer_unless_told_otherwise_and_has_so_many_slots(printed, flags, memory):
    context = printed(*TRAIN, *flags)["context"]
    assert context["memory"] | memory == context["memory"]
    assert context["temporal"] is context["history"] is None


def test_layers_and_smoothness(printed):
    model = printed(*TRAIN, "--use-temporal-encoder", "--num-temporal-layers", 2, "--lambda-temporal", 0.2)
    assert model["context"]["temporal"]["num_layers"] == 2
    assert model["lambda_temporal"] == 0.2


def test_flags_go_on_top_of_what_a_config_says(printed):
    before = printed(*TEMPORAL)["context"]
    flags = ["--temporal-encoder-type", "gru", "--history-length", 4, "--sequence-length", 8, "--use-memory"]
    after = printed(*flags_first(flags))["context"]
    assert after["temporal"] == before["temporal"] | {"encoder_type": "gru"}
    assert after["history"] == before["history"] | {"history_length": 4}
    assert after["memory"]["kind"] == "buffer"
    assert after["sequence_length"] == 8
    assert after["stride"] == before["stride"]


def flags_first(flags: list[object]) -> list[object]:
    """Before the config, too, the flags are on top of it."""
    return [*TEMPORAL[:2], *flags, *TEMPORAL[2:]]


def test_flags_go_with_the_options_that_they_do_not_name(printed):
    more = ["--model.context.stride", 2, "--model.context.temporal", "{hidden_dim: 64}"]
    more += ["--model.context.freeze_base", "true"]
    context = printed(*TRAIN, "--use_temporal_encoder", "--temporal_encoder_type", "lstm", *more)["context"]
    assert (context["temporal"]["hidden_dim"], context["temporal"]["encoder_type"]) == (64, "lstm")
    assert (context["stride"], context["freeze_base"]) == (2, True)


def test_single_options_are_given_by_their_dotted_names(printed, tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {context: {memory: {kind: working, memory_slots: 3}, stride: 2}}\n")
    options = ["--model.context.temporal.hidden_dim", 64, "--model.context.temporal.encoder_type", "lstm"]
    options += ["--model.context.memory.num_heads", 4]
    context = printed(*TRAIN, "--config", tmp_path / "mine.yaml", *options)["context"]
    assert (context["temporal"]["hidden_dim"], context["temporal"]["encoder_type"]) == (64, "lstm")
    assert context["memory"] == {"kind": "working", "memory_slots": 3, "num_heads": 4, "hidden_dim": None}
    assert context["stride"] == 2


def test_a_memory_of_another_kind_keeps_what_both_kinds_have(printed):
    memory = ["--model.context.memory", "{kind: working, memory_slots: 3, num_heads: 2}"]
    after = printed(*TRAIN, *memory, "--memory-kind", "buffer", "--memory-size", 7)["context"]["memory"]
    assert (after["kind"], after["num_heads"], after["memory_size"]) == ("buffer", 2, 7)


def test_a_printed_config_reads_back_as_it_was(tmp_path, tempovla):
    first = tempovla(*TRAIN, "--use-memory", "--sequence-length", 6, "--print_config").out
    (tmp_path / "mine.yaml").write_text(first)
    assert tempovla("train", "vla", "--config", tmp_path / "mine.yaml", "--print_config").out == first


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--temporal-encoder-type", "lstm"], "--temporal-encoder-type is of no use without --use-temporal-encoder"),
        (
            ["--num-temporal-layers", 2, "--use-memory"],
            "--num-temporal-layers is of no use without --use-temporal-enco",
        ),
        (["--history-length", 4], "--history-length is of no use without --use-history-encoder; give both, or none"),
        (["--memory-size", 4], "--memory-size is of no use without --use-memory"),
        (["--sequence-length", 4], "--sequence-length is of no use without --use-temporal-encoder, --use-history-enco"),
        (["--use-temporal-encoder", "--temporal-encoder-type", "rnn"], "invalid choice: 'rnn' (choose from "),
        (["--use-memory", "--memory-size", "many"], "--memory-size: invalid int value: 'many'"),
        (["--use-memory", "--sequence-length", 0], "context.sequence_length=0 must be at least 1"),
        (["--use-history-encoder", "--history-length", 0], "history_length=0 must be at least 1; leave"),
        (
            ["--use-history-encoder", "--history-length", 40],
            "history_length=40 is more than the 31 frames before the last one of a training window; lower it, or raise",
        ),
        (
            ["--use-history-encoder", "--sequence-length", 12],
            "history_length=16 is more than the 11 frames before the last one",
        ),
        (
            ["--use-memory", "--model.context.stride", 17],
            "context.stride=17 exceeds the chunk of 16 actions; shorten the stride",
        ),
        (["--use-memory", "--model.context.freeze_base", "true"], "give --base-checkpoint or --pretrained-vlm, or set"),
        (["--use-memory", "--lambda-temporal", -1], "model.lambda_temporal=-1.0 must not be negative"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(tmp_path, fails, flags, message):
    assert message in fails(*TRAIN, "--output-dir", tmp_path / "run", *flags)


def test_a_flag_is_no_key_of_a_config_file(tmp_path, fails):
    (tmp_path / "mine.yaml").write_text("use_memory: true\n")
    assert "--use-memory is for the command line; set model.context" in fails(
        "train", "vla", "--config", tmp_path / "mine.yaml"
    )
