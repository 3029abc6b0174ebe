"""An encoder of the last states and actions, and a policy that uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.mlp import mlp
from tempovla.model.temporal.history.config import HistoryEncoderConfig
from tempovla.model.temporal.history.state import HistoryState
from tempovla.model.temporal.history.streams import (
    ActionHistoryEncoder,
    AgedAttention,
    StateHistoryEncoder,
    StepMask,
    checked,
    clean,
    newest,
)
from tempovla.model.temporal.object_style import HistoryObject, HistoryPolicyObject, HistoryRecorder

LENGTH_GROUPS = 8
"""Into how many batches the windows of a sequence are sorted by length."""


class HistoryEncoder(HistoryObject):
    """Encodes the last states and actions: a transformer over each, cross-attention of one to the other, and an MLP.

    A step is a state and the action taken there. Everything is causal, and counts time backwards over the valid steps:
    padding, wherever it lies, changes nothing.

    Args:
        config: sizes; or instead of them the size of an observation, which may also be named `obs_dim`, with
        action_dim: size of an action,
        context_dim: output_dim and hidden_dim,
        num_layers: as in `HistoryEncoderConfig`, and
        fields: further fields of it, e.g. `history_length`.

    Raises:
        ValueError: if it gets both a config and sizes, or neither.
    """

    def __init__(
        self,
        config: HistoryEncoderConfig | int | None = None,
        action_dim: int | None = None,
        context_dim: int = 256,
        num_layers: int = HistoryEncoderConfig.num_layers,
        *,
        obs_dim: int | None = None,
        **fields: Any,
    ) -> None:
        super().__init__()
        if isinstance(config, int) and obs_dim is None:
            config, obs_dim = None, config
        sizes = {"obs_dim": obs_dim, "action_dim": action_dim}
        if num_layers != HistoryEncoderConfig.num_layers:
            fields["num_layers"] = num_layers
        if set(sizes.values()) == {None} and not isinstance(config, int | None) and not fields and context_dim == 256:
            self.config = config
        elif config is None and None not in sizes.values():
            widths = {"hidden_dim": context_dim, "output_dim": context_dim}
            self.config = config = HistoryEncoderConfig(**{**sizes, **widths, **fields})
        else:
            raise ValueError("HistoryEncoder takes either a HistoryEncoderConfig alone, or both obs_dim and action_dim")
        width = config.output_dim
        self.state_encoder = StateHistoryEncoder(config)
        self.action_encoder = ActionHistoryEncoder(config)
        self.state_norm, self.action_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross_attention = AgedAttention(width, config.num_heads, config.max_age, config.dropout)
        self.null_cross = nn.Parameter(0.02 * torch.randn(width))
        self.fusion = mlp([3 * width, config.hidden_dim, width])
        self.recorder = HistoryRecorder(config.history_length, config.obs_dim, config.action_dim)

    def forward(
        self, states: Tensor, actions: Tensor, valid: Tensor | None = None, action_valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode a history, oldest step first.

        Args:
            states: (B, T, obs_dim), T at most history_length; T = 0 is an empty history.
            actions: (B, T, action_dim), or (B, T - 1, action_dim) if none was taken yet in the newest state.
            valid: (B, T) bool, which steps exist; None means all. The others may hold anything, even NaN.
            action_valid: a bool for each action, whether it is known; None means that all are.

        Returns:
            `state_encoding`, `action_encoding` and `fused` (B, output_dim) of the newest valid step, which are learned
            nulls where there is none. `state_sequence` and `cross_attended` (B, T, output_dim), in which step t knows
            the states up to t, and `cross_attended` also the actions up to t; both are 0 at invalid steps.

        Raises:
            ValueError: if the shapes do not fit, or there are more than history_length steps.
        """
        steps = checked("states", states, self.config.obs_dim, valid)
        known = checked("actions", actions, self.config.action_dim, action_valid)
        missing = states.shape[1] - actions.shape[1]
        if actions.shape[0] != states.shape[0] or missing not in (0, 1):
            raise ValueError(
                f"actions {tuple(actions.shape)} must be one a step of states {tuple(states.shape)}, or one fewer"
            )
        actions = torch.cat([actions, actions.new_zeros(actions.shape[0], missing, actions.shape[2])], dim=1)
        known = torch.cat([known, known.new_zeros(known.shape[0], missing)], dim=1) & steps
        state = self.state_encoder(states, steps)
        action = self.action_encoder(actions, known, steps)
        cross = self.cross_attention(
            self.state_norm(state.sequence), self.action_norm(action.sequence), StepMask.causal(steps, known)
        )
        cross = clean(state.sequence + cross, steps)
        newest_cross = newest(cross, steps, self.null_cross)
        return {
            "state_encoding": state.encoding,
            "action_encoding": action.encoding,
            "fused": self.fusion(torch.cat([state.encoding, action.encoding, newest_cross], dim=1)),
            "cross_attended": cross,
            "state_sequence": state.sequence,
        }

    def context(
        self, observations: Tensor, actions: Tensor, valid: Tensor | None = None, action_valid: Tensor | None = None
    ) -> Tensor:
        """Return the fused encoding (B, output_dim) alone; the arguments are those of `forward`."""
        return self(observations, actions, valid, action_valid)["fused"]

    def initial_state(self, batch: int) -> HistoryState:
        """Return the history of `batch` rows that have seen nothing."""
        config, like = self.config, self.null_cross
        sizes = (config.history_length, config.obs_dim, config.action_dim)
        return HistoryState.init(batch, *sizes, device=like.device, dtype=like.dtype)

    def encode(self, history: HistoryState) -> dict[str, Tensor]:
        """Encode an explicit history; see `forward`."""
        return self(history.states, history.actions, history.valid)

    def step(self, state: Tensor, action: Tensor, history: HistoryState) -> tuple[Tensor, HistoryState]:
        """Push a step (B, obs_dim), (B, action_dim), and return the fused encoding (B, output_dim) and the history."""
        history = history.push(state, action)
        return self.encode(history)["fused"], history

    def sequence(
        self, states: Tensor, actions: Tensor, history: HistoryState, valid: Tensor | None = None
    ) -> tuple[Tensor, HistoryState]:
        """Return what `step` gives at every step of a sequence of any length, computed at once.

        This costs T windows of history_length steps, without what lies before the first valid one. The encoding at t
        knows the action taken at t. To learn that action, take the encoding at t - 1.

        Args:
            states: (B, T, obs_dim).
            actions: (B, T, action_dim).
            history: the history before the first step.
            valid: (B, T) bool. An invalid step is padding, but takes the place of a step in the windows.

        Returns:
            The fused encodings (B, T, output_dim), and the history after the last step.
        """
        length, steps = self.config.history_length, checked("states", states, self.config.obs_dim, valid)
        if actions.shape != (*states.shape[:2], self.config.action_dim) or states.shape[0] != history.valid.shape[0]:
            raise ValueError(
                f"states {tuple(states.shape)}, actions {tuple(actions.shape)} and a history of {len(history.valid)} "
                "rows must have the same rows, and the first two the same steps"
            )
        whole = (
            torch.cat([history.states, clean(states, steps).to(history.states)], dim=1),
            torch.cat([history.actions, clean(actions, steps).to(history.actions)], dim=1),
            torch.cat([history.valid, steps], dim=1),
        )
        windows = [x[:, 1:].unfold(1, length, 1).movedim(-1, 2).flatten(0, 1) for x in whole]
        fused = self._encode_windows(*windows).unflatten(0, states.shape[:2])
        return fused, HistoryState(*(x[:, -length:] for x in whole))

    def _encode_windows(self, states: Tensor, actions: Tensor, valid: Tensor) -> Tensor:
        """The fused encodings of many windows (N, H, ...), those of about one length together without their padding.

        Most windows near an episode's start are padding, which takes as long as steps do and changes nothing.
        """
        if torch.compiler.is_exporting() or torch.jit.is_tracing():  # a graph cannot choose lengths
            return self.context(states, actions, valid)
        steps = torch.arange(valid.shape[1], 0, -1, device=valid.device)
        length = torch.where(valid, steps, 0).amax(dim=1)  # from the first valid step to the newest one
        order = length.argsort()
        parts = []
        for rows in order.tensor_split(min(LENGTH_GROUPS, len(order))):
            longest = int(length[rows[-1]])
            first = valid.shape[1] - longest
            parts.append(self.context(*(x[rows, first:] for x in (states, actions, valid))))
        return torch.cat(parts)[order.argsort()]


class HistoryAwarePolicy(HistoryPolicyObject):
    """Adds an encoding of the last steps to the features that a policy maps to actions.

    Args:
        base_policy: a module from features (B, obs_dim) to actions, or an action head, whose `sample` gives them.
        obs_dim: size of these features, which are also the states of the history.
        action_dim: size of an action.
        history_dim: width of the history encoder.
        history_length: steps that it remembers.
        options: further fields of `HistoryEncoderConfig`, e.g. `num_layers`.
    """

    history_encoder: HistoryEncoder

    def __init__(
        self,
        base_policy: nn.Module,
        obs_dim: int,
        action_dim: int,
        history_dim: int = 512,
        history_length: int = 16,
        **options: Any,
    ) -> None:
        super().__init__()
        self.base_policy = base_policy
        self.history_encoder = HistoryEncoder(
            HistoryEncoderConfig(
                obs_dim=obs_dim,
                action_dim=action_dim,
                hidden_dim=history_dim,
                output_dim=history_dim,
                history_length=history_length,
                **options,
            )
        )
        self.project = nn.Linear(history_dim, obs_dim)

    def initial_state(self, batch: int) -> HistoryState:
        """Return the history of `batch` rows that have seen nothing. Pass it to `forward`, and push steps to it."""
        return self.history_encoder.initial_state(batch)

    def features(self, observation: Tensor, history: HistoryState) -> Tensor:
        """Return what the base policy sees (B, obs_dim): observations (B, obs_dim) plus the history's encoding.

        A head learns from them: `head.loss_terms(policy.features(observation, history), actions, valid)`.
        """
        if observation.shape != (history.valid.shape[0], self.history_encoder.config.obs_dim):
            raise ValueError(
                f"observation {tuple(observation.shape)} must be ({len(history.valid)}, "
                f"{self.history_encoder.config.obs_dim}), a row for each of the history; reset_history() to change rows"
            )
        return observation + self.project(self.history_encoder.encode(history)["fused"])

    def sequence_features(
        self, observations: Tensor, actions: Tensor, history: HistoryState, valid: Tensor | None = None
    ) -> tuple[Tensor, HistoryState]:
        """Return what `features` gives at every step of a sequence; each step knows only the actions before it.

        Args:
            observations: (B, T, obs_dim).
            actions: (B, T, action_dim), taken there.
            history: the history before the first step.
            valid: (B, T) bool, False for padding at an episode's start, whose features say nothing; None for all.

        Returns:
            The features (B, T, obs_dim), and the history after the last step.
        """
        steps = checked("observations", observations, self.history_encoder.config.obs_dim, valid)
        fused, after = self.history_encoder.sequence(observations, actions, history, steps)
        before = torch.cat([self.history_encoder.encode(history)["fused"][:, None], fused[:, :-1]], dim=1)
        return clean(observations, steps) + self.project(before), after

    def forward(
        self,
        observation: Tensor,
        history: HistoryState | None = None,
        generator: torch.Generator | Tensor | None = None,
    ) -> Tensor:
        """Return the action for an observation.

        Args:
            observation: (B, obs_dim), or (obs_dim,) of one environment.
            history: the steps before; None uses what `update_history` remembered.
            generator: where an action head's noise comes from: seeds (B,) of the rows, or a generator.

        Returns:
            The base policy's actions (B, action_dim), or chunks (B, H, action_dim) of a head with H > 1; without B for
            one environment.

        Raises:
            ValueError: if the observation's rows are not those of the history.
        """
        single = observation.dim() == 1
        rows = observation[None] if single else observation
        if history is None:
            history = self.history_encoder.recorder.state or self.initial_state(rows.shape[0])
        features = self.features(rows, history.to(rows.device))
        sample: Callable[..., Tensor] | None = getattr(self.base_policy, "sample", None)
        if sample is not None:
            action = sample(features, generator)
            action = action.squeeze(1) if action.dim() == 3 and action.shape[1] == 1 else action
        else:
            action = self.base_policy(features)
        return action[0] if single else action
