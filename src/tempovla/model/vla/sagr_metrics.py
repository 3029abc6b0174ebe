"""Figures that SA-GR logs beside its losses, under the names that its users know."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vla.sagr_encoder import Frame
from tempovla.timeline import LossTerm, LossTerms, Metric

PERSISTENCE = "debug/sagr/persistence"
"""Error of predicting that nothing changes."""
TOKEN_SPREAD = "debug/sagr/task_token_std"
"""How much task tokens differ between samples."""
PICTURE_SPREAD = "debug/sagr/task_token_picture_std"
"""How much task tokens differ between samples with the same instruction, and so by their pictures."""
SLOT_SPREAD = "debug/sagr/task_token_slot_std"
"""How much the task tokens of one sample differ from each other."""
TERMS = {"action_loss": "cfm", "dyn_loss": "dyn", "geo_loss": "geo", "reg_loss": "reg"}
"""Loss terms, and what they are called in metrics."""


def row_metric(value: Tensor, valid: Tensor | None = None) -> Metric:
    """Return the mean over rows (B,) of a figure; over those that are `valid` (B,) bool, where this is given."""
    value = value.detach().float()
    return Metric(value, None, torch.ones_like(value, dtype=torch.bool) if valid is None else valid)


def same_for_all(value: float, like: Tensor) -> Metric:
    """Return a figure that every row of a batch `like` (B, ...) has."""
    return row_metric(like.new_full((len(like),), value, dtype=torch.float32))


def spread_of_rows(name: str, value: Tensor, valid: Tensor) -> dict[str, Metric]:
    """Return `<name>_mean`, `_std`, `_p50` and `_p95` of a figure (B,) over its valid rows.

    With several processes the quantiles are those of each process's own rows, averaged.

    Args:
        name: of the figure.
        value: (B,).
        valid: (B,) bool; without any the figures are left out.
    """
    value = value.detach().float()
    some = valid.any().expand_as(valid)
    seen = torch.where(valid, value, torch.nan)
    half, most = torch.nanquantile(seen, torch.tensor([0.5, 0.95], device=value.device)).unbind()
    quantiles = {"p50": half, "p95": most}
    return {
        f"{name}_mean": row_metric(value, valid),
        f"{name}_std": Metric(value[:, None], None, valid, "std"),
        **{f"{name}_{suffix}": Metric(figure.expand_as(value), None, some) for suffix, figure in quantiles.items()},
    }


def temporal_metrics(is_there: bool, valid: Tensor, num_tokens: int, width: int) -> dict[str, Metric]:
    """Return what there is of the future frame: `debug/temporal/*`.

    Args:
        is_there: whether samples have a future frame.
        valid: (B,) bool, whether it is a target.
        num_tokens: task tokens.
        width: their width.
    """
    figures = {
        "has_image_tk": float(is_there),
        "task_tokens_next_available": float(is_there),
        "task_token_num": float(num_tokens),
        "task_token_num_config": float(num_tokens),
        "task_token_hidden_size": float(width),
    }
    metrics = {f"debug/temporal/{name}": same_for_all(value, valid) for name, value in figures.items()}
    return metrics | {"debug/temporal/valid_tk_ratio": row_metric(valid)}


def schedule_metrics(phase: int, alpha: float, weights: dict[str, float], like: Tensor) -> dict[str, Metric]:
    """Return where the schedule stands: `debug/sagr_schedule/*`."""
    figures = {"phase": float(phase), "alpha": alpha} | {f"loss_w_{name}": value for name, value in weights.items()}
    return {f"debug/sagr_schedule/{name}": same_for_all(value, like) for name, value in figures.items()}


def loss_metrics(terms: LossTerms, names: dict[str, str], like: Tensor) -> dict[str, Metric]:
    """Return loss terms once more as `debug/sagr/loss_*` and `weight_*`, and under `debug/loss/*`.

    Args:
        terms: of the policy.
        names: by term, what it is called there.
        like: (B,) any tensor of the batch.
    """
    metrics: dict[str, Metric] = {}
    for term, name in names.items():
        found = terms.get(term)
        if not isinstance(found, LossTerm):
            continue
        target = None if found.target is None else found.target.detach()
        same = Metric(found.prediction.detach(), target, found.valid, found.kind)
        weight = same_for_all(found.weight, like)
        for place in ("sagr", "loss"):
            metrics[f"debug/{place}/loss_{name}"] = same
            metrics[f"debug/{place}/weight_{'fm' if name == 'cfm' else name}"] = weight
    return metrics


def spread_metric(tokens: Tensor, words: Tensor, valid: Tensor) -> dict[str, Metric]:
    """Return how much task tokens differ between samples, between those of one instruction, and within a sample.

    Near 0 they have collapsed. Between any samples they differ by the words alone.

    Args:
        tokens: (B, K, H) task tokens.
        words: (B, L) int64 word pieces of the instruction.
        valid: (B,) bool, rows that count.
    """
    tokens = tokens.detach().float()
    flat = tokens.flatten(1)
    metrics = {
        TOKEN_SPREAD: Metric(flat, None, valid, "std"),
        PICTURE_SPREAD: Metric(flat, words, valid, "std_within"),
    }
    if tokens.shape[1] > 1:
        apart = tokens.var(dim=1, unbiased=False).mean(dim=-1).sqrt()
        metrics[SLOT_SPREAD] = row_metric(torch.where(valid, apart, 0.0), valid)
    return metrics


def figures_of(
    config: SAGRConfig, terms: LossTerms, frame: Frame, seen: Tensor, phase: tuple[int, float]
) -> dict[str, Metric]:
    """Return the figures that every batch has.

    Args:
        config: of the policy.
        terms: its loss terms.
        frame: of now.
        seen: (B,) bool, rows in which all was observed.
        phase: of the schedule, and the factor of its weights.
    """
    base = {name: getattr(config, f"loss_w_{name}") for name in ("fm", "dyn", "geo", "reg")}
    weights = {name: value if name == "fm" else phase[1] * value for name, value in base.items()}
    found = terms.get("dyn_loss") or terms.get("flare_loss") or terms.get("inverse_loss")
    valid = torch.zeros_like(seen) if found is None else found.valid
    return {
        **temporal_metrics(config.uses_future, valid, config.task_token_num, frame.tokens.shape[-1]),
        **schedule_metrics(*phase, weights, seen),
        **loss_metrics(terms, TERMS, seen),
        **spread_metric(frame.tokens, frame.words.ids, seen),
    }
