"""Which temporal parts a policy has, and how it is trained on sequences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

from tempovla.model.temporal.core.config import TemporalEncoderConfig, TemporalPartConfig
from tempovla.model.temporal.history.config import HistoryEncoderConfig, HistoryPartConfig
from tempovla.model.temporal.memory.config import (
    BufferMemoryConfig,
    HierarchicalMemoryConfig,
    MemoryPartConfig,
    WorkingMemoryConfig,
)
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.model.temporal.retrieval.config import RetrievalPartConfig
from tempovla.timeline.config import value_from_json

if TYPE_CHECKING:
    from tempovla.model.temporal.memory.explicit import ExplicitMemory

PARTS = ("temporal", "history", "memory", "retrieval")
"""The parts that a context may have, by the names of their options."""

MemoryOptions = BufferMemoryConfig | HierarchicalMemoryConfig | WorkingMemoryConfig
"""The options of a memory, told apart by `kind`; `register_memory` adds to them."""


def register_memory(options: type[MemoryPartConfig], memory: type[ExplicitMemory]) -> None:
    """Let configs and the command line name a memory of your own.

    Args:
        options: a frozen dataclass with a field `kind: Literal["name"] = "name"`, whose `build` gives the memory.
        memory: the class that it builds.

    Raises:
        ValueError: if it has no such field, or another memory has its name.
    """
    kind = getattr(options, "kind", None)
    if not isinstance(kind, str) or not kind.isidentifier():
        raise ValueError(f"{options.__name__}.kind={kind!r} is no name; give it a field kind: Literal['mine'] = 'mine'")
    before = MEMORY_REGISTRY.get(kind, (options, memory))[0]
    if before.__qualname__ != options.__qualname__:  # the same class may be defined anew, as in a notebook
        raise ValueError(f"{before.__name__} is registered as {kind!r} already; choose another name")
    MEMORY_REGISTRY[kind] = (options, memory)
    every: Any = Union[tuple(known for known, _ in MEMORY_REGISTRY.values())]  # noqa: UP007 - of a list
    globals()["MemoryOptions"] = every  # what the types of a context are read from


@dataclasses.dataclass(frozen=True)
class ContextConfig:
    """What a policy knows of the past, besides what it sees now.

    At every frame, each part reads the features of all frames so far. Its output is added to the features of the
    present frame before these reach the action head. A part may also be given as a mapping, as in a YAML file.

    Attributes:
        temporal: options of a temporal encoder, such as `{encoder_type: lstm, hidden_dim: 256}`.
        history: options of a history encoder of features and actions, such as `{history_length: 16}`.
        memory: options of a memory, whose `kind` says which one: `{kind: working, memory_slots: 32}`,
            `{kind: hierarchical}` or `{kind: buffer}`.
        retrieval: options of the retrieval from earlier episodes, such as `{top_k: 4}`; it needs `freeze_base`.
        stride: control steps between two frames. Observations in between are not used, and this many actions of a chunk
            are executed.
        sequence_length: frames of a training window that are learned from.
        burn_in: frames before these, which only bring the states up to date; nothing is learned from them.
        bptt_length: number of frames after which gradients are cut inside a window; None never cuts them.
        freeze_base: whether the features stay as they are. Then only the parts named here and the action head learn,
            and every frame is encoded once.
    """

    temporal: TemporalPartConfig | None = None
    history: HistoryPartConfig | None = None
    memory: MemoryOptions | None = None
    retrieval: RetrievalPartConfig | None = None
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
        if all(getattr(self, name) is None for name in PARTS):
            raise ValueError(
                "context has no part; give temporal, history, memory or retrieval, or leave the context out"
            )
        if self.retrieval is not None and not self.freeze_base:
            raise ValueError(
                "context.retrieval reads features of earlier episodes, which are encoded once; set "
                "context.freeze_base=true"
            )
        for name in PARTS:
            given: Any = getattr(self, name)
            if isinstance(given, Mapping):
                object.__setattr__(self, name, value_from_json(ContextConfig, name, given, f"context.{name}"))
            elif type(given) in (TemporalEncoderConfig, HistoryEncoderConfig):
                raise ValueError(
                    f"context.{name} is a {type(given).__name__}, but its sizes follow from the policy; give a "
                    f"{name.capitalize()}PartConfig"
                )

    @property
    def frames(self) -> int:
        """Number of frames of a training window."""
        return self.burn_in + self.sequence_length

    @property
    def offsets(self) -> tuple[int, ...]:
        """The frames' places in control steps relative to now."""
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
        """Return the config of the temporal encoder; one call takes a whole window unless the options say otherwise."""
        return None if self.temporal is None else self.temporal.encoder_config(feature_dim, self.frames)

    def history_config(self, feature_dim: int, action_dim: int) -> HistoryEncoderConfig | None:
        """Return the config of the history encoder; all actions between two frames count as one."""
        return None if self.history is None else self.history.encoder_config(feature_dim, self.stride * action_dim)

    def build_memory(self, feature_dim: int) -> ExplicitMemory[Any, Any] | None:
        """Return the memory."""
        return None if self.memory is None else self.memory.build(feature_dim)
