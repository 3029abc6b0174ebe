"""How much of its surroundings a car's policy recognises along recorded scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.control.controller import Actor, Controller
from tempovla.data.mixture import Mixture
from tempovla.model.vla.context_policy import base_of
from tempovla.objective.objective import measure
from tempovla.recipe.evaluation.open_loop.figures import Figure, SceneMeans
from tempovla.recipe.evaluation.open_loop.in_order import decided_in_order
from tempovla.timeline import Context, Metric, Window


@runtime_checkable
class Recognises(Protocol):
    """A policy that learns beside its actions what is around it."""

    def taught_keys(self) -> tuple[str, ...]:
        """Return the streams that are read in training: those of control, and those that only teach."""

    def perceived(self, context: Context, state: Any) -> tuple[Mapping[str, Metric], Any]:
        """Return by name what is recognised of what is there, and the state that `act` returns."""


@torch.inference_mode()
def recognised_of(actor: Actor, mixture: Mixture, scenes_at_once: int) -> dict[str, Figure]:
    """Return by name how much a policy recognises, with bootstrap intervals over the scenes.

    Intersections over unions are those of the cells of all moments, and shares those of all moments at which something
    is to be told. Empty for a policy that learned no such thing, or where nothing of it is recorded.

    Args:
        actor: the policy. One that remembers has seen each scene from its beginning.
        mixture: the samples, of one source.
        scenes_at_once: rows that are looked at together.
    """
    if not isinstance(actor, Controller):  # an exported file tells its chunk alone
        return {}
    acts: Any = actor.policy
    policy: Any = base_of(acts)
    if not isinstance(policy, Recognises):
        return {}
    own = {window.key for window in actor.windows}
    streams = mixture.sources[0].streams
    further = [Window(key, (0,), optional=True) for key in policy.taught_keys() if key not in own and key in streams]
    if not further:
        return {}
    transform, device = actor.transform, actor.device

    def decide(context: Context, state: Any) -> tuple[Mapping[str, Metric], Any]:
        return policy.perceived(transform.forward(context.to(device), {})[0], state)

    count = mixture.lengths[0]
    found: dict[str, NDArray[np.float64]] = {}
    for rows, samples, told in decided_in_order(actor, mixture, scenes_at_once, decide, further):
        for name, metric in told.items():
            sums = found.setdefault(name, np.zeros((2, count)))
            for row, sample in zip(rows.tolist(), samples.tolist(), strict=True):
                sums[:, sample] = measure(name, _of_row(metric, row)).cpu().numpy()
    scene, _ = mixture.locate(0, np.arange(count))
    means = SceneMeans(scene)
    return {name: means.ratio(*sums) for name, sums in found.items()}


def _of_row(metric: Metric, row: int) -> Metric:
    """The figure of one row alone."""
    target = None if metric.target is None else metric.target[row : row + 1]
    return replace(
        metric, prediction=metric.prediction[row : row + 1], target=target, valid=metric.valid[row : row + 1]
    )
