"""Optional abilities of policies, each as a protocol.

Code checks for an ability with `isinstance` alone; a policy has the ability if it has the members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from tempovla.timeline.policy import ActionChunk, LossTerms, Policy, Progress
from tempovla.timeline.sample import Context, TimelineSample
from tempovla.timeline.window import Window

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class ScheduledPolicy(Protocol):
    """A policy with a schedule inside: its `forward` takes how far training has come as a second argument."""

    def forward(self, sample: TimelineSample, progress: Progress) -> LossTerms:
        """Return loss terms and metrics of a batch at this point of the training."""


@runtime_checkable
class NoisyPolicy(Protocol[S]):
    """A policy whose actions depend on noise, which follows from a seed in its state."""

    def with_seeds(self, state: S, seed: Tensor) -> S:
        """Return the state with the noise of every row drawn from `seed` (B,) int64 from now on, and nothing else
        changed.
        """


@runtime_checkable
class ExploringPolicy(Protocol[S]):
    """A policy that learns while it acts, and then tries more than what it takes for best."""

    def explore(self, context: Context, state: S) -> tuple[ActionChunk, S]:
        """Return actions from now on, as `act` does, with something new in them."""


@runtime_checkable
class SequencePolicy(Protocol):
    """A policy that learns from sequences: its training windows reach further back than those that it acts on.

    When it acts, its state holds what it saw before.
    """

    def training_windows(self) -> tuple[Window, ...]:
        """Return the windows of a training sample."""

    def window_ends(self, length: int) -> list[int]:
        """Return the increasing control steps at which the training windows of an episode of `length` steps end."""


def training_windows(policy: Policy[Any]) -> tuple[Window, ...]:
    """Return the windows of a training sample of any policy."""
    return policy.training_windows() if isinstance(policy, SequencePolicy) else policy.windows()


def window_ends(policy: Policy[Any]) -> Callable[[int], list[int]] | None:
    """Return a function from an episode's length to the ends of a policy's training windows; None: every step."""
    return policy.window_ends if isinstance(policy, SequencePolicy) else None


@runtime_checkable
class StridedPolicy(Protocol):
    """A policy that sees one frame in `frame_stride` control steps, and must act at this rate.

    The attribute may be None in a policy that can act at any step.
    """

    @property
    def frame_stride(self) -> int | None:
        """Control steps between two frames that the policy sees, in training as in control."""


@runtime_checkable
class ReportingPolicy(Protocol[S_contra]):
    """A policy whose state holds figures about the episode so far, which an evaluation reports for each episode."""

    def report(self, state: S_contra) -> Mapping[str, Tensor]:
        """Return figures (B,) by name, of the decisions since each row's episode began."""


@runtime_checkable
class EncodingPolicy(Protocol):
    """A policy that gives one vector a control step, and reads `ENCODING_KEY` instead where there is one."""

    @property
    def device(self) -> torch.device:
        """Where its weights live."""

    @property
    def feature_dim(self) -> int:
        """Size D of the vector."""

    def windows(self) -> tuple[Window, ...]:
        """Return the windows that it reads."""

    def encode_features(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return the vector (B, D), and (B,) whether every observation that it needs was valid.

        Raises:
            ValueError: if it is not one vector.
        """

    def encoder_parts(self) -> Mapping[str, nn.Module]:
        """Parameters and buffers, by name, from which the vector is computed; neither the action head nor anything
        after the vector.
        """

    def encoder_config(self) -> Mapping[str, Any]:
        """Return the part of its config on which the vector may depend, as JSON."""


@dataclass(frozen=True)
class Prediction:
    """What a world model imagines of one stream from now on, and what then came; the P steps lie one stride apart.

    Attributes:
        kind: `state`, `picture` (from 0 to 1) or `reward`, or `latent` where the model decodes nothing.
        value: (B, P, *F) what is imagined after each of the steps; nothing behind the present was seen for it.
        target: (B, P, *F) what then came, in the same space.
        valid: (B, P) bool, whether the target is known, and so are the present observation and all actions up to it.
        now: (B, *F) the same of the present; of rewards, the last one.
        has_now: (B,) bool, whether it is known.
        before: (B, *F) the same of one stride before the present.
        has_before: (B,) bool, whether it is known.
    """

    kind: Literal["state", "picture", "latent", "reward"]
    value: Tensor
    target: Tensor
    valid: Tensor
    now: Tensor
    has_now: Tensor
    before: Tensor
    has_before: Tensor


@runtime_checkable
class PredictingPolicy(Protocol):
    """A policy with a world model, whose predictions can be compared with what really came."""

    @property
    def prediction_stride(self) -> int:
        """Control steps from one imagined step to the next."""

    def prediction_windows(self, horizon: int) -> tuple[Window, ...]:
        """Return the windows of a sample whose last target lies `horizon` control steps ahead.

        The horizon is a multiple of the stride. Where a dataset has no rewards, the sample may lack them.
        """

    def predict(self, sample: TimelineSample) -> Mapping[str, Prediction]:
        """Return the predictions by stream, from what was seen until now and from the actions that were done.

        Args:
            sample: prepared as in training, with the windows of `prediction_windows`.
        """


@dataclass(frozen=True)
class PlanTold:
    """What a policy plans at a decision, and what it expects of it.

    Attributes:
        actions: (B, H, A) of the next H decisions, normalised as the policy's own; the first one is done now. Behind
            those that a search found, if there is one, come those that the policy takes in imagination.
        rewards: (B, H) that the world model expects of each of them. Where an action is done for several control steps,
            their rewards are one.
        value: (B,) the discounted return that is expected from now on; it knows of no limit of steps.
    """

    actions: Tensor
    rewards: Tensor
    value: Tensor


@runtime_checkable
class PlanTellingPolicy(Protocol[S]):
    """A policy that acts by a world model and can tell what it plans."""

    @property
    def step_discount(self) -> float:
        """The discount of rewards from one decision to the next."""

    def tell(self, context: Context, state: S) -> tuple[ActionChunk, S, PlanTold]:
        """Return the actions and the state that `act` returns, and the plan behind them.

        The first action of the plan is done for all steps of the chunk.
        """


@runtime_checkable
class ShardedPolicy(Protocol):
    """A policy that names the blocks whose weights FSDP puts together one at a time."""

    def shard_units(self) -> list[nn.Module]:
        """Return modules, such as transformer blocks, whose weights are used in calls of them alone, and by nothing
        else.
        """
