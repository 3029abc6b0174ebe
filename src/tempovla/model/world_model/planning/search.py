"""Search for actions by sampling candidates, for all rows of a batch at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.timeline.noise import mix_seed, row_normal, row_uniform

Score = Callable[[Tensor], Tensor]
"""From candidates (B, N, H, A) in [-1, 1] to how good each is (B, N)."""

CHOICE, DRAWS = 1, 2
"""Streams of random numbers: which of the best is taken, and, from here on, the candidates of each round."""


@dataclass(frozen=True)
class Plan:
    """What was found for each row.

    Attributes:
        actions: (B, H, A) to do.
        mean: (B, H, A) where the search ended; the next one begins there.
        std: (B, H, A) how widely it looked at the end.
        value: (B,) how good the actions are.
    """

    actions: Tensor
    mean: Tensor
    std: Tensor
    value: Tensor


def shifted(mean: Tensor, steps: int = 1) -> Tensor:
    """Return a plan (B, H, A) some steps later: its rest, and nothing (0) in the place of what lies beyond it."""
    return torch.cat([mean[:, steps:], torch.zeros_like(mean[:, :steps])], dim=1)


def search(config: PlannerConfig, score: Score, start: Tensor, seed: Tensor, proposals: Tensor | None = None) -> Plan:
    """Return the best actions that are found.

    Candidates stay in [-1, 1]. What is drawn follows from the row's seed alone. A score that is not finite counts as
    worse than all that are. A candidate that comes back in the next round keeps its score.

    Args:
        config: how to search.
        score: of candidates.
        start: (B, H, A) around which the first round looks.
        seed: (B,) int64.
        proposals: (B, P, H, A) candidates of every round, such as those of a policy.
    """
    mean, std = start, torch.full_like(start, config.max_std)
    known = 0 if proposals is None else proposals.shape[1]
    kept, kept_value = proposals, start.new_zeros(len(start), 0)
    fresh = config.num_samples - known
    for index in range(config.rounds):
        drawn = mean[:, None] + std[:, None] * _noise(config, seed, (fresh, *start.shape[1:]), index)
        candidates = drawn.clamp(-1.0, 1.0)
        if kept is not None:
            candidates = torch.cat([kept, candidates], dim=1)
        value = torch.cat([kept_value, _finite(score(candidates[:, kept_value.shape[1] :]))], dim=1)
        best, order = value.topk(min(config.num_elites, value.shape[1]), dim=1)
        elites = candidates.gather(1, order[..., None, None].expand(-1, -1, *start.shape[1:]))
        weight = _weights(config, best)[..., None, None]
        mean = (weight * elites).sum(dim=1)
        std = (weight * (elites - mean[:, None]).square()).sum(dim=1).sqrt().clamp(config.min_std, config.max_std)
        if config.kind == "icem":
            count = max(1, round(config.keep_fraction * elites.shape[1]))
            kept = torch.cat([candidates[:, :known], elites[:, :count]], dim=1)
            kept_value = torch.cat([value[:, :known], best[:, :count]], dim=1)
        else:
            kept_value = value[:, :known]
    chosen = _chosen(config, best, seed)
    rows = torch.arange(len(start), device=start.device)
    return Plan(elites[rows, chosen], mean, std, best[rows, chosen])


def _finite(value: Tensor) -> Tensor:
    """Scores (B, N), with the least of all in place of those that are not finite."""
    return torch.nan_to_num(value, nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)


def _weights(config: PlannerConfig, best: Tensor) -> Tensor:
    """Return how much each of the best (B, E) counts, with a sum of 1 over them."""
    counts = torch.isfinite(best)
    counts = counts | ~counts.any(dim=1, keepdim=True)  # where none is finite, all count the same
    if config.kind != "mppi":
        share = counts.float()
    else:
        finite = torch.where(torch.isfinite(best), best, 0.0)
        share = torch.where(counts, (config.temperature * (finite - finite.max(dim=1, keepdim=True).values)).exp(), 0.0)
    return share / share.sum(dim=1, keepdim=True)


def _chosen(config: PlannerConfig, best: Tensor, seed: Tensor) -> Tensor:
    """Return (B,) which of the best is done: the very best; with `mppi` one that is drawn by the weights."""
    if config.kind != "mppi":
        return best.argmax(dim=1)
    threshold = row_uniform(seed, stream=CHOICE)[:, None]
    return (_weights(config, best).cumsum(dim=1) <= threshold).sum(dim=1).clamp(max=best.shape[1] - 1)


def _noise(config: PlannerConfig, seed: Tensor, shape: tuple[int, int, int], index: int) -> Tensor:
    """Return normal noise (B, N, H, A) of a round; with `icem` correlated over the H steps."""
    noise = row_normal(mix_seed(seed, DRAWS + index), shape)
    return _colored(noise, config.noise_beta) if config.kind == "icem" and shape[1] > 1 else noise


def _colored(noise: Tensor, beta: float) -> Tensor:
    """Return noise (B, N, H, A) with a power spectrum of 1 / frequency^beta over the H steps, and a variance of 1."""
    steps = noise.shape[2]
    frequency = torch.fft.rfftfreq(steps, device=noise.device)
    frequency[0] = frequency[1]
    scale = frequency.pow(-beta / 2.0)
    spectrum = torch.fft.rfft(noise, dim=2) * scale[:, None]
    twice = torch.full_like(scale, 2.0)
    twice[0] = 1.0
    if steps % 2 == 0:
        twice[-1] = 1.0
    variance = (twice * scale.square()).sum() / steps
    return torch.fft.irfft(spectrum, n=steps, dim=2) / variance.sqrt()
