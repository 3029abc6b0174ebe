"""The config of a context: what follows from it, and what is refused in one line."""

from __future__ import annotations

import pytest

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.temporal.hierarchical_memory import HierarchicalMemory
from tempovla.model.temporal.memory_buffer import MemoryBuffer
from tempovla.model.temporal.working_memory import WorkingMemory

LSTM = {"encoder_type": "lstm"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "context has no part; give temporal, history or memory, or leave the context out"),
        ({"temporal": LSTM, "stride": 0}, "context.stride=0 must be at least 1"),
        ({"temporal": LSTM, "sequence_length": 0}, "context.sequence_length=0 must be at least 1"),
        ({"temporal": LSTM, "burn_in": -1}, "context.burn_in=-1 must be at least 0"),
        ({"temporal": LSTM, "bptt_length": 0}, "context.bptt_length=0 must be at least 1"),
        ({"temporal": {"encoder": "lstm"}}, "context.temporal has no option 'encoder'; did you mean 'encoder_type'?"),
        ({"temporal": {"input_dim": 8}}, "context.temporal has no option 'input_dim'; "),
        ({"history": {"history": 8}}, "context.history has no option 'history'; did you mean 'history_length'?"),
        ({"history": {"obs_dim": 8}}, "context.history has no option 'obs_dim'; "),
        ({"memory": {"kind": "episodic"}}, "context.memory.kind='episodic' is unknown; choose from buffer, "),
        ({"memory": {"memory_slots": 3}}, "context.memory.kind=None is unknown; choose from "),
        ({"memory": {"kind": "working", "memory_size": 3}}, "context.memory has no option 'memory_size'; did you mean"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(fields, message):
    with pytest.raises(ValueError, match="context") as error:
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
    config = ContextConfig(temporal=LSTM | told).temporal_config(24)
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
