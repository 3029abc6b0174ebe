"""Decisions of a policy along recorded scenes, one control step after the other, so that it remembers what it saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tempovla.control.controller import Actor, Controller
from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.timeline import Context, SequencePolicy, Window

Decide = Callable[[Context, Any], tuple[Any, Any]]
"""From observations (B rows) and state to a decision and the next state."""


def remembers(actor: Actor) -> bool:
    """Return whether a policy learned from sequences of frames, so that its decisions depend on what it saw before."""
    if not isinstance(actor, Controller) or not isinstance(actor.policy, SequencePolicy):
        return False
    return tuple(actor.policy.training_windows()) != tuple(actor.policy.windows())


def decided_in_order(
    actor: Actor, mixture: Mixture, scenes_at_once: int, decide: Decide, further: Sequence[Window] = ()
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Any]]:
    """Yield the decisions of a policy at every control step, with the state that it had in the scene until then.

    Args:
        actor: the policy.
        mixture: the samples, of one source; all control steps of some scenes.
        scenes_at_once: rows that decide together.
        decide: what is asked of the policy.
        further: windows that are read beside the policy's own.

    Yields:
        Which rows (K,) of a decision count, the samples (K,) that they belong to, and the decision.
    """
    scene, _ = mixture.locate(0, np.arange(mixture.lengths[0]))
    starts = np.flatnonzero(np.diff(scene, prepend=-1))
    lengths = np.diff(np.append(starts, len(scene)))
    for begin in range(0, len(starts), scenes_at_once):
        first, length = starts[begin : begin + scenes_at_once], lengths[begin : begin + scenes_at_once]
        state = actor.with_seeds(actor.initial_state(len(first)), first.tolist())
        for step in range(int(length.max())):
            index = first + np.minimum(step, length - 1)
            batch = SampleBatch(np.zeros_like(index), index, torch.from_numpy(index))
            decision, state = decide(collate(mixture, (*actor.windows, *further), batch).context, state)
            rows = np.flatnonzero(step < length)
            yield rows, index[rows], decision


@torch.inference_mode()
def chunks_in_order(actor: Actor, mixture: Mixture, scenes_at_once: int) -> Tensor:
    """Return the chunks of actions (N, H, A) of a policy at every control step, in the body's units.

    Args:
        actor: the policy.
        mixture: the samples, of one source; all control steps of some scenes.
        scenes_at_once: rows that decide together.
    """
    told: dict[int, Tensor] = {}
    for rows, samples, chunk in decided_in_order(actor, mixture, scenes_at_once, actor.act):
        for row, sample in zip(rows.tolist(), samples.tolist(), strict=True):
            told[sample] = chunk.value[row].double().cpu()
    return torch.stack([told[sample] for sample in range(mixture.lengths[0])])
