"""Open-loop figures and pictures of a car's policy, as a part of the offline evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from tempovla.control.controller import Actor, Controller
from tempovla.data.mixture import Mixture
from tempovla.model.vla.context_policy import base_of
from tempovla.recipe.evaluation.open_loop.around import around_of
from tempovla.recipe.evaluation.open_loop.figures import Modes
from tempovla.recipe.evaluation.open_loop.in_order import chunks_in_order, decided_in_order, remembers
from tempovla.recipe.evaluation.open_loop.measure import measure_trajectories
from tempovla.recipe.evaluation.open_loop.pictures import draw_moments
from tempovla.recipe.evaluation.open_loop.recognised import recognised_of
from tempovla.recipe.evaluation.open_loop.recorded import Recorded, read_recorded
from tempovla.recipe.evaluation.open_loop.trajectories import HORIZONS_S, Array
from tempovla.timeline import Context, Embodiment
from tempovla.timeline.driving import ACTION_NAMES
from tempovla.timeline.keys import STATE_KEY


class TrajectoriesTold(Protocol):
    """K trajectories with their probabilities."""

    @property
    def waypoints(self) -> Tensor: ...  # noqa: D102 - (B, K, H, 3) poses in the ego frame of now [m, rad]
    @property
    def probability(self) -> Tensor: ...  # noqa: D102 - (B, K)


@runtime_checkable
class ForeseesTrajectories(Protocol):
    """A policy that takes several trajectories for possible."""

    def trajectories(self, context: Context, state: Any) -> tuple[TrajectoriesTold, Any]:
        """Return what may be driven, and the state that `act` returns."""


def drives(body: Embodiment) -> bool:
    """Return whether a body is a car whose actions are its motion until the next control step."""
    return body.action_names == ACTION_NAMES


def measure_driving(
    actor: Actor,
    mixture: Mixture,
    steps: Array,
    *,
    batch_size: int = 64,
    pictures: str | Path | None = None,
) -> dict[str, Any]:
    """Return the open-loop figures of a policy, and draw some of its trajectories.

    Args:
        actor: the policy.
        mixture: the moments, of one source; scenes of this source that are not among them teach the status MLPs.
        steps: (N, H, 3) what the policy would have done at each of them by its present window alone: forward [m], left
            [m] and turn [rad]. One that remembers is asked again, scene by scene.
        batch_size: scenes at a time, of a policy that remembers, tells several trajectories or recognises something.
        pictures: folder for bird's eye views; None draws none.

    Raises:
        ValueError: if the dataset has no status of the car, the status or the steps are not known or not finite; or
            the pictures cannot be written.
    """
    source = mixture.sources[0]
    if STATE_KEY not in source.streams:
        raise ValueError(f"{source.name}: has no stream {STATE_KEY!r}, from which the baselines predict; record it")
    horizon = min(steps.shape[1], round(HORIZONS_S[-1] * source.rate_hz))
    if remembers(actor):
        steps = chunks_in_order(actor, mixture, batch_size).numpy()
    recorded, steps = read_recorded(mixture, horizon), steps[:, :horizon]
    chosen = np.unique(recorded.scene).tolist()
    around = around_of(source, chosen)
    modes = modes_of(actor, mixture, batch_size, horizon)
    figures = measure_trajectories(
        recorded, steps, source.rate_hz, around=around, training=_training(mixture, chosen, horizon), modes=modes
    )
    recognised = recognised_of(actor, mixture, batch_size)
    if recognised:
        figures["recognised"] = recognised
    if pictures is not None:
        figures["pictures"] = draw_moments(source, recorded, steps, around, modes, Path(pictures))
    return figures


def _training(mixture: Mixture, chosen: Sequence[int], horizon: int) -> Recorded | None:
    """The scenes of the source that are not judged; None if all of them are."""
    source = mixture.sources[0]
    others = sorted(set(range(len(source))) - set(chosen))
    return read_recorded(Mixture([source], episodes=[others]), horizon) if others else None


@torch.inference_mode()
def modes_of(actor: Actor, mixture: Mixture, batch_size: int, horizon: int) -> Modes | None:
    """Return all trajectories that a policy takes for possible at each sample; None of a policy that tells just one.

    Args:
        actor: the policy.
        mixture: the samples, of one source.
        batch_size: scenes at a time.
        horizon: control steps of the trajectories that are kept.
    """
    if not isinstance(actor, Controller):  # an exported file tells its chunk alone
        return None
    acts: Any = actor.policy
    policy: Any = base_of(acts)
    if not isinstance(policy, ForeseesTrajectories):
        return None
    transform, device = actor.transform, actor.device

    def decide(context: Context, state: Any) -> tuple[TrajectoriesTold, Any]:
        return policy.trajectories(transform.forward(context.to(device), {})[0], state)

    count = mixture.lengths[0]
    found: dict[int, tuple[Array, Array]] = {}
    for rows, samples, told in decided_in_order(actor, mixture, batch_size, decide):
        if told.probability.shape[1] < 2:
            return None
        poses, probability = told.waypoints[:, :, :horizon].double().cpu(), told.probability.double().cpu()
        for row, sample in zip(rows.tolist(), samples.tolist(), strict=True):
            found[sample] = poses[row].numpy(), probability[row].numpy()
    return Modes(np.stack([found[i][0] for i in range(count)]), np.stack([found[i][1] for i in range(count)]))
