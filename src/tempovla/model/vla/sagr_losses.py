"""The losses of SA-GR that look k steps ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.fusion.causal_feedback import Feedback
from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vla.sagr_encoder import Frame
from tempovla.model.vla.sagr_metrics import PERSISTENCE, row_metric, same_for_all, spread_of_rows
from tempovla.model.vla.sagr_state import change_ratio
from tempovla.timeline import LossTerm, Metric, TimelineSample
from tempovla.timeline.keys import ACTION_KEY

if TYPE_CHECKING:
    from tempovla.model.vla.sagr import SAGR


@dataclass(frozen=True)
class Past:
    """The frame k steps ago and what happened since.

    Attributes:
        tokens: (B, K, H) task tokens of then; None where they are not read.
        actions: (B, k, A) done since, normalised.
        valid: (B,) bool, whether there was such a frame and all of these actions.
        residual: (B, M, D) between what is seen now and what had been predicted of it; None without a prediction.
    """

    tokens: Tensor | None
    actions: Tensor
    valid: Tensor
    residual: Tensor | None

    def rows(self, index: Tensor) -> Past:
        """Return the chosen rows."""
        tokens, residual = (None if part is None else part[index] for part in (self.tokens, self.residual))
        return Past(tokens, self.actions[index], self.valid[index], residual)


@dataclass(frozen=True)
class Outlook:
    """What the losses are computed from.

    Attributes:
        sample: the batch.
        frame: what its present frames show.
        start: (B, M, D) what the world predictor starts from.
        before: (B, M, D) the target of the present frame.
        noisy: (B, R, T, A) noisy actions.
        future: (B, R, F, W) the head's future tokens.
        alpha: factor of the weights.
    """

    sample: TimelineSample
    frame: Frame
    start: Tensor | None
    before: Tensor | None
    noisy: Tensor
    future: Tensor
    alpha: float


def world_terms(policy: SAGR, outlook: Outlook) -> dict[str, LossTerm | Metric]:
    """Return the loss terms of the prediction for every horizon, of its energy, and of the future tokens."""
    config, k, start, before = policy.config, policy.config.temporal_delta_k, outlook.start, outlook.before
    terms: dict[str, LossTerm | Metric] = {}
    context, future = outlook.sample.context, outlook.sample.future
    action = future[ACTION_KEY]
    required = policy.target_keys()
    now_there = policy.frames.seen(context.now, state=not config.predicts_without_actions)
    for horizon in (k, *config.horizons) if policy.world is not None else (k,):
        done_there = action.valid[:, :horizon].all(dim=1)
        valid = now_there & policy.frames.seen_again(context.now, future, horizon, required)
        if not config.predicts_without_actions:
            valid = valid & done_there
        target = policy.frames.target(future, horizon, outlook.frame.words)
        target = torch.where(valid[:, None, None], target, 0.0)
        if horizon == k and policy.flare is not None:
            terms |= _future_terms(policy, outlook, target, valid)
        if policy.world is None or start is None or before is None:
            continue
        chosen = action.value if config.world_action_source == "teacher" else outlook.noisy[:, 0]
        actions = torch.where(done_there[:, None, None], chosen[:, :horizon].float(), 0.0)
        if config.world_condition == "tokens":
            actions = outlook.frame.tokens
        predicted = policy.world(start, actions, policy.robot_state(context.now))
        suffix = "" if horizon == k else f"_k{horizon}"
        share = config.loss_w_dyn / (1 + len(config.horizons))
        terms |= _dynamics_terms(config.world_target_loss, predicted, target, valid, outlook.alpha * share, suffix)
        terms[f"{PERSISTENCE}{suffix}"] = Metric(before, target, valid, "mse")
        if horizon == k:
            terms |= _residual_terms(policy, before, predicted, target, valid, outlook.alpha)
    return terms


def _dynamics_terms(
    loss: str, predicted: Tensor, target: Tensor, valid: Tensor, weight: float, suffix: str
) -> Mapping[str, LossTerm | Metric]:
    """How far the predicted tokens (B, M, D) are from those of the future frame."""
    if loss == "mse":
        term = LossTerm(predicted, target, valid, weight)
    else:
        apart = 1.0 - F.cosine_similarity(predicted, target, dim=-1, eps=1e-6)
        term = LossTerm(torch.where(valid[:, None], apart, 0.0), None, valid, weight, "mean")
    return {f"dyn_loss{suffix}": term, f"debug/sagr/mse_dyn{suffix}": Metric(predicted.detach(), target, valid, "mse")}


def _residual_terms(
    policy: SAGR, before: Tensor, predicted: Tensor, target: Tensor, valid: Tensor, alpha: float
) -> dict[str, LossTerm | Metric]:
    """The energy of the residual, with weights that nothing learns, and figures about it."""
    assert policy.residuals is not None
    config = policy.config
    residual = torch.where(valid[:, None, None], target - predicted, 0.0)
    pooled, norm = residual.mean(dim=1), residual.flatten(1).norm(dim=1)
    energy = 0.5 * (policy.residuals.weights * pooled.square()).mean(dim=1)
    if policy.training and torch.is_grad_enabled():
        policy.residuals.add(pooled.detach(), norm.detach(), valid)
    floor = policy.residuals.norm.clamp(min=config.rrr_eps)
    ratio = change_ratio(target, predicted, before, floor)
    terms: dict[str, LossTerm | Metric] = {
        "debug/sagr/geo_energy_mean": row_metric(energy, valid),
        "debug/sagr/E_geo": row_metric(energy, valid),
        "debug/sagr/world_predictor_params": same_for_all(float(policy.world_parameters), energy),
        **spread_of_rows("debug/sagr/delta_z_norm", norm, valid),
        "debug/sagr/rrr_mean": row_metric(ratio, valid),
        "debug/sagr/valid_tk_ratio": row_metric(valid),
        "debug/loss/valid_tk_ratio": row_metric(valid),
    }
    if config.loss_w_geo:
        terms["geo_loss"] = LossTerm(energy, None, valid, alpha * config.loss_w_geo, "mean")
    return terms


def _future_terms(policy: SAGR, outlook: Outlook, target: Tensor, valid: Tensor) -> dict[str, LossTerm | Metric]:
    """The alignment of the head's future tokens (B, R, F, W) with the target (B, F, D), as in FLARE."""
    assert policy.flare is not None
    told = policy.flare(outlook.future).float()
    apart = 1.0 - F.cosine_similarity(told, target[:, None], dim=-1, eps=1e-6)
    weight = outlook.alpha * policy.config.flare_weight
    return {"flare_loss": LossTerm(apart, None, valid, weight, "mean")}


def feedback_terms(
    config: SAGRConfig, feedback: Feedback | None, past: Past | None, alpha: float
) -> dict[str, LossTerm]:
    """Return losses that make the feedback tokens tell the change."""
    if feedback is None or past is None:
        return {}
    change, told = feedback.change.detach(), feedback.told
    terms = {}
    if config.causal_feedback_aux_weight:
        terms["feedback_loss"] = LossTerm(told, change, past.valid, alpha * config.causal_feedback_aux_weight)
    if config.causal_feedback_aux_dir_weight:
        apart = 1.0 - F.cosine_similarity(told.float(), change.float(), dim=-1, eps=1e-6)
        weight = alpha * config.causal_feedback_aux_dir_weight
        terms["feedback_direction_loss"] = LossTerm(apart, None, past.valid, weight, "mean")
    return terms
