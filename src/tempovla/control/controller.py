"""A trained policy behind its transforms: raw context in, actions in the robot's units out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import torch

from tempovla.model.sensor.calibrations import CalibrationError
from tempovla.model.vla.registry import load_policy
from tempovla.storage.said_by import shown_error
from tempovla.timeline import (
    ActionChunk,
    Bundle,
    Context,
    Embodiment,
    ExploringPolicy,
    NoisyPolicy,
    PlanTellingPolicy,
    PlanTold,
    Policy,
    ReportingPolicy,
    StridedPolicy,
    Window,
)
from tempovla.timeline.context_check import check_now, has_now, missing_streams
from tempovla.timeline.finite import check_actions, check_finite
from tempovla.timeline.keys import ACTION_KEY, LANGUAGE_KEY, TOKENS_KEY, is_outcome
from tempovla.transform.pipeline import TransformPipeline


class Actor(Protocol):
    """The interface of what acts: a `Controller` or an exported policy."""

    windows: tuple[Window, ...]
    embodiment: Embodiment

    @property
    def device(self) -> torch.device | str:
        """The device on which decisions are made."""

    @property
    def frame_stride(self) -> int | None:
        """Control steps from one decision to the next; None if any number will do. See `StridedPolicy`."""

    def initial_state(self, batch_size: int) -> Any:
        """Return the state of rows that have seen nothing."""

    def with_seeds(self, state: Any, seeds: Sequence[int]) -> Any:
        """Return the state with the noise of every row drawn from its seed; without noise, the same state."""

    def act(self, context: Context, state: Any) -> tuple[ActionChunk, Any]:
        """Return actions (B, H, A) in the robot's units for a raw context, and the next state."""

    def report(self, state: Any) -> Mapping[str, Sequence[float]]:
        """Return what the policy tells of each row's episode so far, by name; empty if it tells nothing."""


@contextmanager
def first_decision(origin: str) -> Iterator[None]:
    """Turn errors of a policy's first decision into one line that names the folder the policy was read from.

    Shapes fitted in training; they differ if the windows or transforms of the bundle are damaged.

    Args:
        origin: the folder; "" for a policy that was just made, whose errors stay as they are.

    Raises:
        ValueError: in one line.
    """
    try:
        yield
    except CalibrationError as problem:
        if not origin:
            raise
        raise ValueError(
            f"{origin}: {problem.lack}; give cameras=[CameraCalibration(...)] to tempovla.load, or "
            "write the calibration into meta/info.json of the dataset that is evaluated"
        ) from problem
    except (RuntimeError, ValueError, IndexError) as problem:
        if not origin or origin in str(problem) or isinstance(problem, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"{origin}: its policy cannot take what its windows and transforms make of the observations "
            f"({shown_error(problem)}); give them as in training, or copy the checkpoint again"
        ) from problem


class Controller:
    """Transforms observations, lets the policy act, and transforms its actions back, with the transforms of training.

    Args:
        policy: a trained policy, in evaluation mode.
        transform: the transforms it was trained behind.
        bundle: holds windows and embodiment.
        device: of the policy, on which the transforms are computed, too.
    """

    def __init__(
        self,
        policy: Policy[Any],
        transform: TransformPipeline,
        bundle: Bundle,
        device: torch.device | str = "cpu",
    ) -> None:
        self.policy = policy
        self.transform = transform
        self.windows = transform.accepted_windows(bundle.windows)
        self.embodiment = bundle.embodiment
        self.origin = bundle.origin
        self.device = device
        self._has_decided = False

    @classmethod
    def from_bundle(cls, bundle: Bundle, device: torch.device | str = "cpu") -> Controller:
        """Build the policy and its transforms from a bundle of training."""
        transform = TransformPipeline.of(bundle)
        return cls(load_policy(bundle).to(device), transform, bundle, device)

    @property
    def frame_stride(self) -> int | None:
        """Control steps from one decision to the next; None if any number will do. See `StridedPolicy`."""
        return self.policy.frame_stride if isinstance(self.policy, StridedPolicy) else None

    def initial_state(self, batch_size: int) -> Any:
        """Return the state of rows that have seen nothing."""
        return self.policy.initial_state(batch_size)

    def with_seeds(self, state: Any, seeds: Sequence[int]) -> Any:
        """Return the state with the noise of every row drawn from its seed; without noise, the same state."""
        if not isinstance(self.policy, NoisyPolicy):
            return state
        return self.policy.with_seeds(state, torch.tensor(seeds, dtype=torch.int64, device=self.device))

    def report(self, state: Any) -> Mapping[str, Sequence[float]]:
        """Return what the policy tells of each row's episode so far, by name; empty if it tells nothing."""
        if not isinstance(self.policy, ReportingPolicy):
            return {}
        return {name: figures.tolist() for name, figures in self.policy.report(state).items()}

    def decide(self, prepared: Context, state: Any, *, explores: bool = False) -> tuple[ActionChunk, Any]:
        """Return the policy's own chunk, before it is transformed back, and the next state.

        Args:
            prepared: the transformed context.
            state: of the policy.
            explores: whether it acts to learn; the policy is then an `ExploringPolicy`.

        Raises:
            ValueError: if the bundle's windows or transforms do not give what the policy reads, which damage can cause.
        """
        try:
            if self._has_decided:
                return self._decided(prepared, state, explores)
            with first_decision(self.origin):
                decided = self._decided(prepared, state, explores)
            self._has_decided = True
            return decided
        except KeyError as problem:
            streams = (TOKENS_KEY, LANGUAGE_KEY, *(window.key for window in self.policy.windows()))
            if problem.args[0] not in streams and not str(problem.args[0]).startswith(("no offset", "no stream")):
                raise
            raise ValueError(
                f"{self.origin or 'policy'}: windows in bundle.json and steps in transform.json do not give "
                f"{problem.args[0]!r} as its policy reads it; copy the checkpoint again"
            ) from problem

    def _decided(self, prepared: Context, state: Any, explores: bool) -> tuple[ActionChunk, Any]:
        if explores and isinstance(self.policy, ExploringPolicy):
            return self.policy.explore(prepared, state)
        return self.policy.act(prepared, state)

    @torch.inference_mode()
    def act(self, context: Context, state: Any, *, explores: bool = False) -> tuple[ActionChunk, Any]:
        """Return actions (B, H, A) in the robot's units for a raw context, and the next state.

        Args:
            context: as the robot or the simulator gives it.
            state: of the policy.
            explores: whether it acts to learn; the policy is then an `ExploringPolicy`.

        Raises:
            ValueError: if the observations lack a stream that the policy needs, have one only of the past, or hold
                a vector that is valid and not finite; or if the policy answers with actions that are not finite.
        """
        prepared = self.transform.forward_context(context.to(self.device))
        self._check_given(context, prepared)
        chunk, state = self.decide(prepared, state, explores=explores)
        actions = self.transform.inverse(replace(chunk, task=prepared.task))
        weights = self.policy.parameters() if isinstance(self.policy, torch.nn.Module) else iter(())
        dtype, seen = next((each.dtype for each in weights), None), (*context.past.items(), *context.now.items())
        check_actions(actions.value, self.origin or "the policy", dtype, seen)
        return actions, state

    @torch.inference_mode()
    def tell(self, context: Context, state: Any) -> tuple[ActionChunk, Any, PlanTold]:
        """Return what `act` returns, and the plan behind it, whose actions are in the robot's units.

        Args:
            context: as the robot or the simulator gives it.
            state: of the policy, which is a `PlanTellingPolicy`.
        """
        assert isinstance(self.policy, PlanTellingPolicy)
        prepared = self.transform.forward_context(context.to(self.device))
        chunk, state, told = self.policy.tell(prepared, state)
        plan = ActionChunk.of(told.actions, range(told.actions.shape[1]))
        actions, planned = (self.transform.inverse(replace(each, task=prepared.task)) for each in (chunk, plan))
        return actions, state, replace(told, actions=planned.value)

    def _check_given(self, context: Context, prepared: Context) -> None:
        """Refuse observations that the policy cannot read; `decide` tells where the bundle is at fault."""
        present = {*prepared.now, *prepared.past}
        wanted = [w for w in self.policy.windows() if w.key != ACTION_KEY and not is_outcome(w.key)]  # as prepared ones
        wanted = [w for w in wanted if not w.optional or w.key in present]
        if missing := [w.key for w in wanted if w.key not in present and min(w.offsets) <= 0]:
            raise ValueError(missing_streams(missing, context))
        if any(0 in w.offsets and not has_now(prepared, w.key) for w in wanted):
            given = {*context.now, *context.past}
            check_now(context, (w.key for w in self.windows if 0 in w.offsets and w.key in given))
        read = {window.key for window in self.policy.windows()}
        for key, track in (*prepared.past.items(), *prepared.now.items()):
            if key in read:
                check_finite(key, track.value, track.valid)
