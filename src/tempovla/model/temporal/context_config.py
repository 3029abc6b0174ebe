"""Which temporal parts a policy has, and how it is trained on sequences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from tempovla.model.temporal.hierarchical_memory import HierarchicalMemory
from tempovla.model.temporal.history_streams import HistoryEncoderConfig
from tempovla.model.temporal.memory_buffer import MemoryBuffer, MemoryConfig
from tempovla.model.temporal.temporal_config import TemporalEncoderConfig
from tempovla.model.temporal.working_memory import WorkingMemory

MEMORY_OPTIONS: dict[str, tuple[str, ...]] = {
    "buffer": tuple(field.name for field in dataclasses.fields(MemoryConfig)),
    "hierarchical": ("hidden_dim", "short_term_slots", "long_term_slots", "num_heads", "novelty_threshold"),
    "working": ("hidden_dim", "memory_slots", "num_heads"),
}
"""The memories by name, and what can be said of each."""


@dataclasses.dataclass(frozen=True)
class ContextConfig:
    """What a policy knows of the past, beside what it sees now.

    At every frame the parts that are chosen look at the features of the frames so far, and what they say is added to
    those of the present frame, before the action head looks at them.

    Attributes:
        temporal: options of a temporal encoder, such as `{encoder_type: lstm, hidden_dim: 256}`: the fields of
            `TemporalEncoderConfig`, but for input_dim and output_dim, which are those of the features.
        history: options of a history encoder of features and actions, such as `{history_length: 16}`: the fields of
            `HistoryEncoderConfig`, but for obs_dim, action_dim and output_dim.
        memory: options of a memory, and which: `{kind: working, memory_slots: 32}`, `{kind: hierarchical}` or
            `{kind: buffer}`; its hidden_dim is that of the features unless given.
        stride: control steps between two frames: what is seen in between is not looked at, and so many actions of a
            chunk are executed.
        sequence_length: frames of a training window that are learned from.
        burn_in: frames before these that are only read, without gradients, so that the states are warm.
        bptt_length: frames after which gradients are cut inside a window; None for nowhere.
        freeze_base: the features stay as they are: only the parts named here and the action head learn, and frames are
            encoded once.
    """

    temporal: Mapping[str, Any] | None = None
    history: Mapping[str, Any] | None = None
    memory: Mapping[str, Any] | None = None
    stride: int = 4
    sequence_length: int = 32
    burn_in: int = 0
    bptt_length: int | None = None
    freeze_base: bool = False

    def __post_init__(self) -> None:
        for name, least in (("stride", 1), ("sequence_length", 1), ("burn_in", 0), ("bptt_length", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"context.{name}={value} must be at least {least}")
        if self.temporal is None and self.history is None and self.memory is None:
            raise ValueError("context has no part; give temporal, history or memory, or leave the context out")
        fields = {"temporal": TemporalEncoderConfig, "history": HistoryEncoderConfig}
        for name, config in fields.items():
            sizes = ("input_dim", "output_dim", "obs_dim", "action_dim")
            known = [field.name for field in dataclasses.fields(config) if field.name not in sizes]
            _check_options(f"context.{name}", getattr(self, name), known)
        if self.memory is not None:
            kind = self.memory.get("kind")
            if kind not in MEMORY_OPTIONS:
                raise ValueError(f"context.memory.kind={kind!r} is unknown; choose from {', '.join(MEMORY_OPTIONS)}")
            _check_options("context.memory", self.memory, ["kind", *MEMORY_OPTIONS[kind]])

    @property
    def frames(self) -> int:
        """Frames of a training window."""
        return self.burn_in + self.sequence_length

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where they are: control steps relative to now."""
        return tuple(range(-(self.frames - 1) * self.stride, 1, self.stride))

    def check_stride(self, action_horizon: int) -> None:
        """Refuse chunks of actions that end before the next frame.

        Raises:
            ValueError: naming both lengths.
        """
        if self.stride > action_horizon:
            raise ValueError(
                f"context.stride={self.stride} exceeds the chunk of {action_horizon} actions; shorten the stride"
            )

    def temporal_config(self, feature_dim: int) -> TemporalEncoderConfig | None:
        """Of the temporal encoder; one call takes a whole window unless the options say otherwise."""
        if self.temporal is None:
            return None
        defaults = {"max_seq_len": self.frames, "chunk_long_sequences": True}
        return TemporalEncoderConfig(input_dim=feature_dim, output_dim=feature_dim, **defaults | dict(self.temporal))

    def history_config(self, feature_dim: int, action_dim: int) -> HistoryEncoderConfig | None:
        """Of the history encoder; what is done between two frames counts as one action."""
        if self.history is None:
            return None
        sizes: dict[str, Any] = {
            "obs_dim": feature_dim,
            "action_dim": self.stride * action_dim,
            "output_dim": feature_dim,
        }
        return HistoryEncoderConfig(**sizes, **self.history)

    def build_memory(self, feature_dim: int) -> WorkingMemory | HierarchicalMemory | MemoryBuffer | None:
        """The memory."""
        if self.memory is None:
            return None
        options = {"hidden_dim": feature_dim} | {name: value for name, value in self.memory.items() if name != "kind"}
        if self.memory["kind"] == "working":
            return WorkingMemory(**options)
        if self.memory["kind"] == "hierarchical":
            return HierarchicalMemory(**options)
        return MemoryBuffer(MemoryConfig(**{"value_dim": options["hidden_dim"]} | options))


def _check_options(where: str, options: Mapping[str, Any] | None, known: list[str]) -> None:
    for name in options or {}:
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"choose from {known}"
            raise ValueError(f"{where} has no option {name!r}; {remedy}")
