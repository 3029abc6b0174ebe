"""Temporal training in a few numbers: what a policy remembers, and how it is trained to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.temporal.core.config import TemporalPartConfig
from tempovla.model.temporal.history.config import HistoryPartConfig
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.recipe.systems.vla_config import VLARecipe


@dataclass(frozen=True)
class TemporalTrainingConfig:
    """The temporal parts of a policy and their training, which `apply` puts into a recipe.

    Attributes:
        sequence_length: frames of a training window that are learned from.
        burn_in: frames before these that are only read, without gradients.
        bptt_length: number of frames after which gradients are cut inside a window; None never cuts them.
        stride: control steps between two frames.
        learning_rate, batch_size, num_epochs: settings of the training; a row of a batch is a window.
        lambda_temporal: weight of the squared first differences of predicted chunks.
        freeze_base: whether the features of a frame stay as they are.
        num_heads: attention heads of all parts.
        use_temporal_encoder: whether there is a temporal encoder.
        temporal_encoder_type: its kind, a name in `TEMPORAL_REGISTRY`.
        num_temporal_layers: its layers.
        temporal_hidden_dim: its width; None takes the width of the policy's features.
        use_history_encoder: whether there is a history encoder of features and actions.
        history_length: number of frames that it looks back.
        history_hidden_dim: its width; None takes the width of the policy's features.
        use_memory: whether there is a memory.
        memory_kind: a name in `MEMORY_REGISTRY`.
        memory_size: slots of the memory; for a hierarchical one, those of its long-term memory.
    """

    sequence_length: int = 32
    burn_in: int = 0
    bptt_length: int | None = None
    stride: int = 4
    learning_rate: float = 1e-4
    batch_size: int = 32
    num_epochs: int = 100
    lambda_temporal: float = 0.1
    freeze_base: bool = False
    num_heads: int = 8
    use_temporal_encoder: bool = True
    temporal_encoder_type: str = "transformer"
    num_temporal_layers: int = 4
    temporal_hidden_dim: int | None = None
    use_history_encoder: bool = True
    history_length: int = 16
    history_hidden_dim: int | None = 512
    use_memory: bool = True
    memory_kind: str = "buffer"
    memory_size: int = 1000

    def __post_init__(self) -> None:
        if self.memory_kind not in MEMORY_REGISTRY:
            raise ValueError(f"memory_kind={self.memory_kind!r} is unknown; choose from {', '.join(MEMORY_REGISTRY)}")
        if not (self.use_temporal_encoder or self.use_history_encoder or self.use_memory):
            raise ValueError("no temporal part is used; set use_temporal_encoder, use_history_encoder or use_memory")
        check_reach(self.context())

    def context(self) -> ContextConfig:
        """Return the context that these settings describe."""
        temporal, history = None, None
        memory: Any = None
        if self.use_temporal_encoder:
            temporal = TemporalPartConfig(
                encoder_type=self.temporal_encoder_type,
                num_layers=self.num_temporal_layers,
                hidden_dim=self.temporal_hidden_dim,
                num_heads=self.num_heads,
            )
        if self.use_history_encoder:
            history = HistoryPartConfig(
                history_length=self.history_length, hidden_dim=self.history_hidden_dim, num_heads=self.num_heads
            )
        if self.use_memory:
            options = MEMORY_REGISTRY[self.memory_kind][0]
            memory = options(**{options.size_field: self.memory_size, "num_heads": self.num_heads})
        return ContextConfig(
            temporal,
            history,
            memory,
            stride=self.stride,
            sequence_length=self.sequence_length,
            burn_in=self.burn_in,
            bptt_length=self.bptt_length,
            freeze_base=self.freeze_base,
        )

    def apply(self, recipe: VLARecipe) -> VLARecipe:
        """Return the recipe with these temporal parts and this training; everything else stays as it was.

        Raises:
            ValueError: if the model's head has no predicted chunk for `lambda_temporal`.
        """
        model = replace(recipe.model, context=self.context(), lambda_temporal=self.lambda_temporal)
        training = replace(
            recipe.training,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            num_epochs=self.num_epochs,
            train_steps=None,
        )
        return replace(recipe, model=model, training=training)


def check_reach(context: ContextConfig) -> None:
    """Refuse a history of nothing, or one that reaches further back in control than training ever shows.

    Raises:
        ValueError: naming the lengths, and the remedy.
    """
    if context.history is None:
        return
    length, longest = context.history.history_length, context.frames - 1
    if length > longest:
        raise ValueError(
            f"history_length={length} is more than the {longest} frames before the last one of a training window; "
            f"lower it, or raise sequence_length={context.sequence_length} or burn_in={context.burn_in}"
        )
