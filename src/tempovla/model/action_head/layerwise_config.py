"""Options of the action head that reads a language model layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tempovla.timeline.arguments import FLOAT32_MAX, FLOAT32_MIN


@dataclass(frozen=True)
class LayerwiseFlowConfig:
    """A diffusion transformer that learns flow matching and reads one layer of the language model in each block.

    Attributes:
        num_layers: number of blocks; None takes as many as the language model has layers, which is also the limit.
        hidden_dim: width of the blocks; None takes that of the language model.
        head_dim: width of an attention head.
        mlp_dim: hidden width of the layers that read the state and write the actions.
        vl_layer_selection: which layers of the language model are read, if there are fewer blocks: the last or the
            first.
        normalize_vl_hidden: normalise the states of each layer before they are read.
        interleave_self_attention: every second block attends to the head's own sequence, and not to the language model.
        use_concat_cross_context: blocks that read the language model attend to the head's own sequence, too.
        use_task_token_context: blocks that read the language model attend to the task tokens, too.
        num_target_vision_tokens: number of learned tokens between state and actions, for what will be seen.
        add_pos_embed: add learned positions to the actions.
        max_seq_len: number of learned positions.
        noise_beta_alpha, noise_beta_beta: shape of the Beta distribution from which a number b is drawn for each flow
            time, (noise_s - b) / noise_s. With 1.5 and 1, flow times near 0, the noise, are the most frequent.
        noise_s: the b whose flow time is 0, pure noise; a larger b has flow time 0, too.
        num_timestep_buckets: number of flow times that the network tells apart.
        num_inference_timesteps: number of Euler steps from noise to actions.
        repeated_diffusion_steps: number of pairs of noise and flow time on which each row is trained.
        dropout: of attention and feed-forward layers.
        final_dropout: whether it applies to the end of each feed-forward layer, too.
    """

    num_layers: int | None = None
    hidden_dim: int | None = None
    head_dim: int = 64
    mlp_dim: int = 1024
    vl_layer_selection: Literal["last", "first"] = "last"
    normalize_vl_hidden: bool = False
    interleave_self_attention: bool = True
    use_concat_cross_context: bool = False
    use_task_token_context: bool = True
    num_target_vision_tokens: int = 32
    add_pos_embed: bool = True
    max_seq_len: int = 1024
    noise_beta_alpha: float = 1.5
    noise_beta_beta: float = 1.0
    noise_s: float = 0.999
    num_timestep_buckets: int = 1000
    num_inference_timesteps: int = 4
    repeated_diffusion_steps: int = 4
    dropout: float = 0.2
    final_dropout: bool = True

    def __post_init__(self) -> None:
        sizes = ("num_layers", "hidden_dim", "head_dim", "mlp_dim", "max_seq_len", "num_timestep_buckets")
        for name in (*sizes, "num_inference_timesteps", "repeated_diffusion_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"model.action_head.{name}={value} must be at least 1")
        if self.num_target_vision_tokens < 0:
            raise ValueError(
                f"model.action_head.num_target_vision_tokens={self.num_target_vision_tokens} must not be negative"
            )
        for name in ("noise_beta_alpha", "noise_beta_beta"):
            value = getattr(self, name)
            if not FLOAT32_MIN <= value <= FLOAT32_MAX:
                raise ValueError(
                    f"model.action_head.{name}={value} must be greater than 0, and finite, as a number of 32 bits; "
                    f"give one from {FLOAT32_MIN:.1e} to {FLOAT32_MAX:.1e}"
                )
        if not 0 < self.noise_s <= 1:
            raise ValueError(f"model.action_head.noise_s={self.noise_s} must be greater than 0, and at most 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.action_head.dropout={self.dropout} must be at least 0, and less than 1")
        for name, known in (("vl_layer_selection", ("last", "first")),):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"model.action_head.{name}={getattr(self, name)!r} is unknown; choose from {', '.join(known)}"
                )
        if self.hidden_dim is not None:
            self.check_width(self.hidden_dim)

    def check_width(self, width: int) -> None:
        """Refuse a width of the head that is no multiple of `head_dim`.

        Raises:
            ValueError: naming both.
        """
        if width % self.head_dim:
            raise ValueError(
                f"model.action_head.head_dim={self.head_dim} does not divide the width {width} of the head; choose "
                "one that does"
            )

    def check_horizon(self, action_horizon: int) -> None:
        """Refuse chunks of more actions than there are learned positions.

        Raises:
            ValueError: naming both.
        """
        if self.add_pos_embed and self.max_seq_len < action_horizon:
            raise ValueError(
                f"model.action_head.max_seq_len={self.max_seq_len} is less than model.action_horizon="
                f"{action_horizon}; raise it"
            )
