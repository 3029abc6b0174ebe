"""Optional abilities of policies, each as a protocol.

Code checks for an ability with `isinstance` alone; a policy has the ability if it has the members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

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


@runtime_checkable
class ShardedPolicy(Protocol):
    """A policy that names the blocks whose weights FSDP puts together one at a time."""

    def shard_units(self) -> list[nn.Module]:
        """Return modules, such as transformer blocks, whose weights are used in calls of them alone, and by nothing
        else.
        """
