"""Options of a policy's memories, told apart by `kind`.

Nothing here loads torch, so that the command line can show and check these options at once; `build` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tempovla.model.temporal.core.config import width_for

if TYPE_CHECKING:
    from tempovla.model.temporal.memory.buffer import MemoryBuffer
    from tempovla.model.temporal.memory.explicit import ExplicitMemory
    from tempovla.model.temporal.memory.hierarchical import HierarchicalMemory
    from tempovla.model.temporal.memory.working import WorkingMemory


@dataclass(frozen=True, kw_only=True)
class MemoryPartConfig:
    """Options of a policy's memory. A subclass has a field `kind`, whose type is a Literal of one name.

    Attributes:
        hidden_dim: features of contents, queries and reads; None takes the width of the policy's features, rounded up
            to a multiple of num_heads where these divide it.
        num_heads: attention heads of a read.
    """

    size_field: ClassVar[str]
    """The option that says how much the memory holds."""
    divided_field: ClassVar[str] = "hidden_dim"
    """The option that the heads divide."""
    hidden_dim: int | None = None
    num_heads: int = 8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{type(self).__name__}.{name}={value} must be at least 1")
        divided = getattr(self, self.divided_field)
        if divided is not None and divided % self.num_heads:
            raise ValueError(
                f"{self.divided_field}={divided} is not divisible by num_heads={self.num_heads}; choose heads that "
                "divide it"
            )

    def width(self, feature_dim: int) -> int:
        """Return `hidden_dim` as a number."""
        if self.hidden_dim is not None:
            return self.hidden_dim
        return width_for(feature_dim, self.num_heads) if self.divided_field == "hidden_dim" else feature_dim

    def build(self, feature_dim: int) -> ExplicitMemory[Any, Any]:
        """Return the memory of a policy with `feature_dim` features."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class BufferMemoryConfig(MemoryPartConfig):
    """Options of a policy's memory buffer; see `MemoryConfig`.

    Attributes:
        kind: buffer.
        memory_size: slots N.
        key_dim: features K by which a slot is found.
        value_dim: features V that a slot holds; None takes hidden_dim, rounded up to a multiple of num_heads.
        num_read_heads: read heads R.
    """

    size_field: ClassVar[str] = "memory_size"
    divided_field: ClassVar[str] = "value_dim"
    kind: Literal["buffer"] = "buffer"
    memory_size: int = 1000
    key_dim: int = 64
    value_dim: int | None = None
    num_read_heads: int = 4

    def build(self, feature_dim: int) -> MemoryBuffer:
        """The memory of a policy with `feature_dim` features."""
        from tempovla.model.temporal.memory.buffer import MemoryBuffer, MemoryConfig

        width = self.width(feature_dim)
        return MemoryBuffer(
            MemoryConfig(
                hidden_dim=width,
                memory_size=self.memory_size,
                key_dim=self.key_dim,
                value_dim=width_for(width, self.num_heads) if self.value_dim is None else self.value_dim,
                num_heads=self.num_heads,
                num_read_heads=self.num_read_heads,
            )
        )


@dataclass(frozen=True, kw_only=True)
class WorkingMemoryConfig(MemoryPartConfig):
    """Options of a policy's working memory.

    Attributes:
        kind: working.
        memory_slots: number of slots.
    """

    size_field: ClassVar[str] = "memory_slots"
    kind: Literal["working"] = "working"
    memory_slots: int = 32

    def build(self, feature_dim: int) -> WorkingMemory:
        """Return the memory of a policy with `feature_dim` features."""
        from tempovla.model.temporal.memory.working import WorkingMemory

        return WorkingMemory(self.width(feature_dim), self.memory_slots, self.num_heads)


@dataclass(frozen=True, kw_only=True)
class HierarchicalMemoryConfig(MemoryPartConfig):
    """Options of a policy's hierarchical memory.

    Attributes:
        kind: hierarchical.
        short_term_slots: last states that are kept as they are.
        long_term_slots: entries of the long-term memory.
        novelty_threshold: cosine distance, 0 to 2, above which a state is an entry of its own.
    """

    size_field: ClassVar[str] = "long_term_slots"
    kind: Literal["hierarchical"] = "hierarchical"
    short_term_slots: int = 32
    long_term_slots: int = 256
    novelty_threshold: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_novelty(self.novelty_threshold)

    def build(self, feature_dim: int) -> HierarchicalMemory:
        """Return the memory of a policy with `feature_dim` features."""
        from tempovla.model.temporal.memory.hierarchical import HierarchicalMemory

        return HierarchicalMemory(
            self.width(feature_dim),
            self.short_term_slots,
            self.long_term_slots,
            self.num_heads,
            self.novelty_threshold,
        )


def check_novelty(threshold: float) -> None:
    """Raise ValueError unless the threshold is a cosine distance."""
    if not 0 <= threshold <= 2:
        raise ValueError(f"novelty_threshold={threshold} is no cosine distance; choose 0 to 2")
