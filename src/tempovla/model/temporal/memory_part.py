"""What the config classes of the memories share, which stand beside the memories that they build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tempovla.model.temporal.explicit_memory import ExplicitMemory
from tempovla.model.temporal.temporal_config import width_for


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
        """`hidden_dim` as a number."""
        if self.hidden_dim is not None:
            return self.hidden_dim
        return width_for(feature_dim, self.num_heads) if self.divided_field == "hidden_dim" else feature_dim

    def build(self, feature_dim: int) -> ExplicitMemory[Any, Any]:
        """The memory of a policy with `feature_dim` features."""
        raise NotImplementedError
