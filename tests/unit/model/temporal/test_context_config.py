"""The config of a context: what follows from it, and what is refused in one line."""

from __future__ import annotations

import json

import pytest

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.temporal.core.config import TemporalEncoderConfig, TemporalPartConfig
from tempovla.model.temporal.memory.buffer import MemoryBuffer
from tempovla.model.temporal.memory.hierarchical import HierarchicalMemory
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.model.temporal.memory.working import WorkingMemory
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.lazy import loaded

LSTM = {"encoder_type": "lstm"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "context has no part; give temporal, history, memory or retrieval, or leave the context out"),
        ({"retrieval": {}}, "context.retrieval reads features of earlier episodes, which are encoded once; set"),
        (
            {"retrieval": {"top": 3}, "freeze_base": True},
            "context.retrieval: keys ['top'] are unknown to RetrievalPartConfig; did you mean 'top_k'?",
        ),
        ({"temporal": LSTM, "stride": 0}, "context.stride=0 must be at least 1"),
        ({"temporal": LSTM, "sequence_length": 0}, "context.sequence_length=0 must be at least 1"),
        ({"temporal": LSTM, "burn_in": -1}, "context.burn_in=-1 must be at least 0"),
        ({"temporal": LSTM, "bptt_length": 0}, "context.bptt_length=0 must be at least 1"),
        (
            {"temporal": {"encoder": "lstm"}},
            "keys ['encoder'] are unknown to TemporalPartConfig; did you mean 'encoder_type'?",
        ),
        ({"temporal": {"input_dim": 8}}, "context.temporal: keys ['input_dim'] are unknown to TemporalPartConfig; "),
        (
            {"history": {"history": 8}},
            "keys ['history'] are unknown to HistoryPartConfig; did you mean 'history_length'?",
        ),
        ({"history": {"obs_dim": 8}}, "context.history: keys ['obs_dim'] are unknown to HistoryPartConfig; "),
        ({"memory": {"kind": "episodic"}}, "context.memory.kind='episodic' is unknown; choose from buffer, "),
        ({"memory": {"memory_slots": 3}}, "context.memory: holds memory_slots, but no kind; add kind: working"),
        (
            {"memory": {"levels": 3}},
            "context.memory: holds levels, but no kind; add kind, one of buffer, hierarchical, ",
        ),
        (
            {"memory": {"kind": "working", "memory_size": 3}},
            "keys ['memory_size'] are unknown to WorkingMemoryConfig; did you mean",
        ),
        ({"temporal": {"encoder_type": "lstn"}}, "encoder_type='lstn' is unknown; did you mean 'lstm'?"),
        ({"temporal": {"hidden_dim": "wide"}}, "context.temporal.hidden_dim is 'wide'; it must be a whole number"),
        ({"memory": {"kind": "workin"}}, "context.memory.kind='workin' is unknown; did you mean 'working'?"),
        ({"temporal": TemporalEncoderConfig()}, "context.temporal is a TemporalEncoderConfig, but its sizes follow"),
        ({"memory": {"kind": "working", "hidden_dim": 12}}, "hidden_dim=12 is not divisible by num_heads=8; choose"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(fields, message):
    with pytest.raises(ValueError, match=r".") as error:
        ContextConfig(**fields)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_frames_of_a_training_window_lie_at_multiples_of_the_stride_and_end_now():
    config = ContextConfig(temporal=LSTM, stride=3, sequence_length=2, burn_in=2)
    assert config.frames == 4
    assert config.offsets == (-9, -6, -3, 0)
    assert ContextConfig(temporal=LSTM, sequence_length=1).offsets == (0,)


def test_the_temporal_encoder_has_the_features_size_and_takes_a_window_at_once_unless_told_otherwise():
    config = ContextConfig(temporal=LSTM, sequence_length=5, burn_in=1).temporal_config(24)
    assert (config.input_dim, config.output_dim, config.encoder_type) == (24, 24, "lstm")
    assert (config.max_seq_len, config.chunk_long_sequences) == (6, True)
    told = {"max_seq_len": 3, "chunk_long_sequences": False, "hidden_dim": 8}
    config = ContextConfig(temporal=TemporalPartConfig(**LSTM, **told)).temporal_config(24)
    assert (config.max_seq_len, config.chunk_long_sequences, config.hidden_dim) == (3, False, 8)


def test_the_history_counts_what_is_done_between_two_frames_as_one_action():
    config = ContextConfig(history={"history_length": 5}, stride=3).history_config(24, 4)
    assert (config.obs_dim, config.action_dim, config.output_dim, config.history_length) == (24, 12, 24, 5)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"kind": "working", "memory_slots": 3}, WorkingMemory),
        ({"kind": "hierarchical", "short_term_slots": 2}, HierarchicalMemory),
        ({"kind": "buffer", "memory_size": 5}, MemoryBuffer),
    ],
)
def test_a_memory_is_as_wide_as_the_features_unless_told_otherwise(options, kind):
    memory = ContextConfig(memory=options).build_memory(24)
    assert type(memory) is kind
    assert memory.hidden_dim == 24
    assert ContextConfig(memory=options | {"hidden_dim": 16}).build_memory(24).hidden_dim == 16


def test_parts_that_are_not_chosen_are_not_there():
    config = ContextConfig(temporal=LSTM)
    assert config.history_config(8, 2) is None
    assert config.build_memory(8) is None
    assert ContextConfig(history={}).temporal_config(8) is None


def test_a_config_that_this_version_wrote_reads_back_as_it_was():
    config = ContextConfig({"encoder_type": "gru"}, {"history_length": 3}, {"kind": "hierarchical"}, burn_in=2)
    written = json.loads(json.dumps(config_to_json(config)))
    assert written["temporal"]["hidden_dim"] is None
    assert config_from_json(ContextConfig, written) == config


def test_options_that_an_earlier_version_wrote_keep_the_widths_that_they_stood_for():
    old = {"temporal": {"encoder_type": "lstm"}, "history": {}, "memory": {"kind": "buffer"}}
    config = config_from_json(ContextConfig, old)
    assert config.temporal_config(24).hidden_dim == config.history_config(24, 4).hidden_dim == 512
    assert config.build_memory(24).hidden_dim == 24
    old = {"temporal": {"hidden_dim": 64, "encoder_type": "frames", "frame_offsets": [-3, 0]}}
    config = config_from_json(ContextConfig, old)
    assert (config.temporal_config(24).hidden_dim, config.temporal.frame_offsets) == (64, (-3, 0))


def test_a_part_is_as_wide_as_the_features_unless_told_otherwise():
    config = ContextConfig({"encoder_type": "lstm"}, {})
    assert config.temporal_config(24).hidden_dim == config.history_config(24, 4).hidden_dim == 24


def test_a_buffer_whose_features_the_heads_do_not_divide_holds_values_of_the_next_width():
    memory = ContextConfig(memory={"kind": "buffer"}).build_memory(20)
    assert (memory.config.hidden_dim, memory.config.value_dim) == (20, 24)
    assert ContextConfig(memory={"kind": "working"}).build_memory(20).hidden_dim == 24


def test_every_kind_of_a_memory_is_one_of_the_options_of_a_context():
    for kind, (options, memory) in MEMORY_REGISTRY.items():
        part = ContextConfig(memory={"kind": kind}).memory
        assert type(part) is options
        assert part.kind == kind
        assert type(part.build(16)) is loaded(memory)
        assert options.size_field in vars(part)
