"""What SA-GR learns from frames whose actions nobody recorded: actions that an inverse model tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vla.sagr_encoder import Frame
from tempovla.timeline import LossTerm, TimelineSample
from tempovla.timeline.keys import ACTION_KEY

if TYPE_CHECKING:
    from tempovla.model.vla.sagr import SAGR


@dataclass(frozen=True)
class Inferred:
    """Actions that two frames tell, of a batch.

    Attributes:
        actions: (B, T, A) normalised, without gradient; 0 beyond the first k.
        stands: (B, T) bool, where they stand in for actions, as the row has none.
        loss: how far they are from the actions of rows that have them.
    """

    actions: Tensor
    stands: Tensor
    loss: LossTerm

    def terms(
        self, config: SAGRConfig, told: Tensor, wanted: Tensor, cloned: Tensor | None, alpha: float
    ) -> dict[str, LossTerm]:
        """Return the loss of the inverse model, and what the policy learns from its actions.

        Args:
            config: of the policy.
            told: (B * R, T, A) velocities of the head.
            wanted: (B * R, T, A) velocities that lead to the actions.
            cloned: (B, T, A) actions of the regression; None without one.
            alpha: factor of the phase, with which this learning begins.
        """
        rows = told.shape[0] // self.stands.shape[0]
        there = self.stands.repeat_interleave(rows, dim=0)
        terms = {
            "inverse_loss": self.loss,
            "video_action_loss": LossTerm(told, wanted, there, alpha * config.loss_w_fm),
        }
        if cloned is not None:
            terms["video_cloning"] = LossTerm(cloned, self.actions, self.stands, alpha * config.cloning_weight)
        return terms


def infer_actions(policy: SAGR, sample: TimelineSample, frame: Frame) -> Inferred | None:
    """Return actions by the inverse model, from the frames of now and k steps later; None if the policy has none.

    It learns from rows whose actions in between are known. Only frames tell them, so the robot's state may be missing.
    """
    if policy.inverse is None:
        return None
    config, k, context, future = policy.config, policy.config.temporal_delta_k, sample.context, sample.future
    action = future[ACTION_KEY]
    seen = policy.frames.seen(context.now, state=False)
    seen = seen & policy.frames.seen_again(context.now, future, k, config.cameras)
    pictures = seen[:, None, None]
    now, later = frame.raw.float(), policy.frames.raw(future, k).float()
    told = policy.inverse(torch.where(pictures, now, 0.0), torch.where(pictures, later, 0.0))
    known = seen & action.valid[:, :k].all(dim=1)
    loss = LossTerm(told, action.value[:, :k], known, config.inverse_weight)
    actions = torch.zeros_like(action.value, dtype=torch.float32)
    actions[:, :k] = told.detach().float()
    stands = torch.zeros_like(action.valid)
    stands[:, :k] = (seen & ~action.valid.any(dim=1))[:, None]
    return Inferred(actions, stands, loss)
