"""SA-GR on tensors alone, all of them valid, as an exported graph runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.context import ContextState
from tempovla.model.vla.sagr import SAGR
from tempovla.model.vla.sagr_encoder import Frame
from tempovla.model.vla.sagr_geometry import GeometryBranch
from tempovla.model.vla.sagr_losses import Past
from tempovla.model.vla.sagr_state import SAGRMemory, change_ratio
from tempovla.timeline import Context, Embodiment
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

MEMORY = "sagr"
"""What the names of the memory's tensors begin with, behind `state`."""


@dataclass(frozen=True)
class SAGRFeatures:
    """What one frame shows, and the robot's state (B, P); None where it is not read."""

    frame: Frame
    robot: Tensor | None


@dataclass(frozen=True)
class KeptFrame(RowState):
    """What a decision hands to the next: of `SAGRMemory`, that which this policy reads.

    Attributes:
        known: (B,) bool, whether there was a decision.
        tokens: task tokens, for feedback; each of these is empty where it is not read, and else one tensor.
        target: of the world predictor.
        start: what the world predictor starts from, where that is not the target.
        state: of the robot, for the world predictor.
        chunk: the actions that are being executed, and how many of them have been, where it may go on with them.
    """

    known: Tensor
    tokens: tuple[Tensor, ...]
    target: tuple[Tensor, ...]
    start: tuple[Tensor, ...]
    state: tuple[Tensor, ...]
    chunk: tuple[Tensor, ...]


class SAGRMemoryTensors:
    """The memory of a policy, in the form that graphs take it."""

    reads_actions = True
    parts = (MEMORY,)

    def __init__(self, policy: SAGR) -> None:
        self._policy = policy

    def initial_state(self, batch_size: int) -> ContextState:
        """Return what rows know that have seen nothing."""
        return ContextState((self.kept(self._policy.initial_state(batch_size).memory),))

    def kept(self, memory: SAGRMemory) -> KeptFrame:
        """Return what is kept of a memory."""
        policy, config = self._policy, self._policy.config
        world = policy.world is not None
        return KeptFrame(
            memory.known,
            (memory.tokens,) if config.enable_causal_feedback_token else (),
            (memory.target,) if world else (),
            (memory.start,) if world and policy.frames.starts_apart else (),
            (memory.state,) if world and config.robot_state_dim is not None else (),
            (memory.chunk, memory.used) if config.replan else (),
        )

    def memory(self, kept: KeptFrame) -> SAGRMemory:
        """Return the memory of which this was kept; the rest of it is zeros."""
        known = kept.known
        zeros = known.to(torch.float32)
        whole: SAGRMemory = self._policy.initial_state(1).memory
        empty = {
            name: getattr(whole, name).expand(known.shape[0], *getattr(whole, name).shape[1:])
            for name in ("tokens", "target", "start", "state", "chunk")
        }
        given = {name: getattr(kept, name) for name in ("tokens", "target", "start", "state")}
        given["chunk"] = kept.chunk[:1]
        parts = {name: value[0] if value else empty[name] for name, value in given.items()}
        count = zeros.to(torch.int64)
        used = kept.chunk[1] if kept.chunk else count
        return SAGRMemory(**parts, known=known, used=used, ratio=zeros, most=zeros, replans=count)


class SAGRNow(nn.Module):
    """A policy without memory.

    Args:
        policy: it acts on one frame at a time.
        body: the one that it moves, whose calibrations become constants of the graph.

    Raises:
        ValueError: if a calibration is missing that its geometry needs.
    """

    def __init__(self, policy: SAGR, body: Embodiment) -> None:
        super().__init__()
        side = policy.config.vlm.vision.image_size
        for module in policy.modules():
            if isinstance(module, GeometryBranch):
                assert side is not None
                module.fix(body, (side, side))
        self.policy = policy
        self.config = policy.config

    def random_numbers(self, seed: Tensor) -> dict[str, Tensor]:
        """Return the random numbers of a decision, by name, each (B, ...), from its seeds (B,) int64."""
        return self.policy.random_numbers(seed)

    def features_of(self, observation: Mapping[str, Tensor]) -> SAGRFeatures:
        """Return what the frame of now shows, from prepared observations by key."""
        context = _context(observation)
        return SAGRFeatures(self.policy.frames.now(context), observation.get(STATE_KEY))

    def actions_from(self, features: SAGRFeatures, numbers: Mapping[str, Tensor]) -> Tensor:
        """Return normalised actions (B, T, A) of these features and random numbers."""
        return self.policy.with_gripper(self.plan(features, None, numbers))

    def plan(self, features: SAGRFeatures, past: Past | None, numbers: Mapping[str, Tensor]) -> Tensor:
        """Return actions (B, T, A) as the head gives them."""
        policy = self.policy
        reading, _ = policy._read(features.frame, past, features.robot)
        return policy.action_head.integrate(
            reading, numbers["normal"], None, lambda bucket, time: policy._drift(past, bucket, time)
        )


class SAGRFollowing(SAGRNow):
    """A policy that remembers its last decision.

    Args:
        policy: it acts at every `frame_stride`-th control step.
        body: as of `SAGRNow`.

    Raises:
        ValueError: as of `SAGRNow`.
    """

    def __init__(self, policy: SAGR, body: Embodiment) -> None:
        super().__init__(policy, body)
        self.context = SAGRMemoryTensors(policy)
        self.frame_stride = policy.frame_stride

    def decide(
        self,
        observation: Mapping[str, Tensor],
        numbers: Mapping[str, Tensor],
        first: Tensor,
        known: Tensor | None,
        state: ContextState,
    ) -> tuple[Tensor, ContextState]:
        """Return actions (B, T, A), normalised, and the next state.

        A row whose chunk goes on is planned for like the others, because a graph takes all rows the same way.

        Args:
            observation: what is seen now, by key and prepared as in training, (B, ...); under the key of actions those
                that were executed since the last decision (B, stride, A).
            numbers: the value of `random_numbers`.
            first: (B,) bool, rows whose episode begins.
            known: (B,) bool, rows in which these actions are known.
            state: of `context.initial_state`, or of the decision before.
        """
        assert known is not None, "the memory of SA-GR reads what was executed"
        policy, config = self.policy, self.policy.config
        kept: KeptFrame = state.parts[0].reset(first)
        memory, features = self.context.memory(kept), self.features_of(observation)
        valid = memory.known & known & ~first
        done = torch.where(valid[:, None, None], observation[ACTION_KEY], 0.0)
        target, start, residual, ratio = memory.target, memory.start, None, torch.zeros_like(memory.ratio)
        if policy.world is not None:
            assert policy.residuals is not None
            target = policy.frames.target_now(features.frame, _context(observation))
            apart = policy.frames.starts_apart
            start = policy.frames.start_now(features.frame, target) if apart else start
            predicted = policy.world(memory.begun, done, None if features.robot is None else memory.state)
            residual = torch.where(valid[:, None, None], target - predicted, 0.0)
            floor = policy.residuals.norm.clamp(min=config.rrr_eps)
            ratio = change_ratio(target, predicted, memory.target, floor)
        past = Past(memory.tokens, done, valid, residual)
        planned = self.plan(features, past, numbers)
        robot = memory.state if features.robot is None else features.robot
        seen = replace(memory, tokens=features.frame.tokens, target=target, start=start, state=robot)
        if config.replan:
            goes_on, seen = seen.after(config.temporal_delta_k, ratio, valid, config.rrr_replan_threshold)
            planned = torch.where(goes_on[:, None, None], seen.remaining(), planned)
            seen = seen.planned(~goes_on, planned)
        after = self.context.kept(replace(seen, known=torch.ones_like(first)))
        return policy.with_gripper(planned), ContextState((after,))


def for_graph(policy: SAGR, body: Embodiment) -> SAGRNow:
    """Return a policy as a graph takes it, for one body.

    Raises:
        ValueError: if it cannot be exported.
    """
    return SAGRFollowing(policy, body) if policy.config.remembers else SAGRNow(policy, body)


@dataclass(frozen=True)
class _Seen:
    """A track of now; a graph knows no offsets."""

    value: Tensor

    def at(self, offset: int) -> tuple[Tensor, Tensor]:
        """The value (B, ...), and (B,) that it is valid."""
        assert offset == 0, "a graph sees the present"
        return self.value, torch.ones_like(self.value.flatten(1)[:, 0], dtype=torch.bool)


def _context(observation: Mapping[str, Tensor]) -> Context:
    now: Any = {key: _Seen(value) for key, value in observation.items() if key != ACTION_KEY}
    first = next(iter(now.values())).at(0)[1]
    return Context({}, now, (), first)
