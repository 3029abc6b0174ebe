"""What a recurrent state-space model learns from sequences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tempovla.model.world_model.latents import Latent
from tempovla.model.world_model.observation_encoder import ObservationEncoder
from tempovla.model.world_model.repeats import beyond_end, repeated_actions, repeated_ends, repeated_rewards
from tempovla.model.world_model.rssm import RSSM, Observed
from tempovla.timeline import LossTerm, Metric, TimelineSample
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, TERMINATED_KEY
from tempovla.timeline.track import concatenate


@dataclass(frozen=True)
class Sequences:
    """T observations of each row, and what was done and came of it in between.

    Attributes:
        values: (B, T, *F) by stream, with zeros where they are invalid.
        seen: (B, T) bool whether all streams are valid.
        actions: (B, T, A) the action before each observation; zeros before the first one.
        first: (B, T) bool whether the state before is unknown: at the first step, and behind an action that is missing.
        rewards: (B, T) of that action.
        rewarded: (B, T) bool whether the reward is known.
        ended: (B, T) bool whether the world ended with that action.
        end_known: (B, T) bool whether this is known.
    """

    values: dict[str, Tensor]
    seen: Tensor
    actions: Tensor
    first: Tensor
    rewards: Tensor
    rewarded: Tensor
    ended: Tensor
    end_known: Tensor

    @classmethod
    def of(cls, sample: TimelineSample, encoder: ObservationEncoder, repeat: int = 1) -> Sequences:
        """Return the sequences of a sample with observations at offsets 0, R, ..., (T - 1) R and what was done between.

        Args:
            sample: its actions and outcomes are at all offsets from 0 to (T - 1) R - 1.
            encoder: reads the observations.
            repeat: number R of control steps for which each action is done; their rewards are added, also where the
                episode's end cuts an action short.
        """
        values, future = {}, sample.future
        seen: Tensor | None = None
        for key in encoder.keys:
            track = concatenate(sample.context.now[key], future[key])
            invalid = ~track.valid.view(*track.valid.shape, *[1] * (track.value.dim() - 2))
            values[key] = track.value.masked_fill(invalid, 0)
            seen = track.valid if seen is None else seen & track.valid
        assert seen is not None, "a model that sees nothing"
        beyond = beyond_end(sample, future[ACTION_KEY].length)
        actions, done = repeated_actions(future[ACTION_KEY], repeat, beyond)
        rewards, rewarded = repeated_rewards(future[REWARD_KEY], repeat, beyond)
        rewarded = rewarded & done
        rewards = torch.where(rewarded, rewards, 0.0)
        end_known, ended = torch.zeros_like(done), torch.zeros_like(done)
        if TERMINATED_KEY in future:
            ended, end_known = repeated_ends(future[TERMINATED_KEY], repeat, beyond)
            end_known = end_known & done
            ended = ended & end_known
        start = torch.ones_like(done[:, :1])
        first = torch.cat([start, ~done], dim=1)
        parts = (_later(part) for part in (rewards, rewarded, ended, end_known))
        return cls(values, seen, _later(actions), first, *parts)


def _later(x: Tensor) -> Tensor:
    """(B, T, ...) from (B, T - 1, ...), with zeros in front."""
    return torch.cat([torch.zeros_like(x[:, :1]), x], dim=1)


@dataclass(frozen=True)
class RSSMWeights:
    """Weights of the loss terms; the defaults are those of DreamerV3.

    Attributes:
        observation: of decoded observations.
        reward: of predicted rewards.
        end: of predicted ends.
        dynamics: of the prior's divergence from the posterior.
        representation: of the posterior's divergence from the prior.
    """

    observation: float = 1.0
    reward: float = 1.0
    end: float = 1.0
    dynamics: float = 1.0
    representation: float = 0.1


def balanced_kl(latent: Latent, posterior: Tensor, prior: Tensor, free_nats: float) -> tuple[Tensor, Tensor]:
    """Return the divergences (...) from which the prior learns, and from which the posterior does.

    Both are KL(posterior, prior), no less than the free nats; one side of each gets no gradient.

    Args:
        latent: the kind of stochastic state.
        posterior: (..., R) raw parameters.
        prior: (..., R) raw parameters.
        free_nats: below which nothing is learned.
    """
    dynamics = latent.kl(posterior.detach(), prior).clamp(min=free_nats)
    representation = latent.kl(posterior, prior.detach()).clamp(min=free_nats)
    return dynamics, representation


def rssm_terms(
    world: RSSM, observed: Observed, sequences: Sequences, weights: RSSMWeights
) -> dict[str, LossTerm | Metric]:
    """Return the losses of a model over sequences, each averaged over the steps at which it is known.

    Args:
        world: the model.
        observed: what it made of the sequences.
        sequences: what was seen, done and received.
        weights: of the terms.
    """
    seen, features = sequences.seen, observed.states.features
    terms: dict[str, LossTerm | Metric] = {}
    for key, loss in world.decoder.losses(features, sequences.values).items():
        name = "state_loss" if key == world.encoder.state_key else f"{key.rpartition('.')[2]}_loss"
        terms[name] = _mean(loss, seen, weights.observation)
    (reward,) = world.reward_head.losses(features, sequences.rewards)
    terms["reward_loss"] = _mean(reward, sequences.rewarded, weights.reward)
    if world.continue_head is not None:
        logits = world.continue_head.logits(features)
        goes_on = (~sequences.ended).to(logits)
        terms["end_loss"] = LossTerm(logits, goes_on, sequences.end_known, weights.end, "bce")
    raw = (observed.posterior, observed.prior)
    dynamics, representation = balanced_kl(world.latent, *raw, world.config.free_nats)
    terms["dynamics_loss"] = _mean(dynamics, seen, weights.dynamics)
    terms["representation_loss"] = _mean(representation, seen, weights.representation)
    with torch.no_grad():
        terms["divergence"] = Metric(world.latent.kl(*raw), None, seen)
    return terms


def _mean(loss: Tensor, valid: Tensor, weight: float) -> LossTerm:
    """A loss (B, T) that is averaged over its valid steps."""
    return LossTerm(torch.where(valid, loss, 0.0), None, valid, weight, "mean")
