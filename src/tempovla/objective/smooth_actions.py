"""A loss of a predicted sequence of actions: its error and its roughness."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.objective.objective import Objective
from tempovla.timeline.policy import LossTerm


def temporal_loss(
    predictions: Tensor,
    targets: Tensor,
    temporal_encoder: object = None,
    lambda_temporal: float = 0.1,
    valid: Tensor | None = None,
) -> Tensor:
    """Return the mean squared error of actions, and `lambda_temporal` times their mean squared first difference over
    time.

    What `tempovla train vla` minimises with the mlp head (`loss: mse`) and `model.lambda_temporal`, as one function.

    Args:
        predictions: sequences of actions (B, T, A), or single ones (B, A), which have no difference over time.
        targets: what they should be, of the same shape.
        temporal_encoder: ignored. Its place is kept because many temporal losses take an encoder as third argument.
        lambda_temporal: weight of the differences.
        valid: bool, a prefix of the predictions' shape: (B,), (B, T) or (B, T, A); entries where it is False have no
            part in either mean, and a difference needs both of its steps. None: all are valid.

    Returns:
        A scalar; 0, with gradients of 0, if nothing is valid.

    Raises:
        ValueError: if the predictions are neither (B, T, A) nor (B, A), targets or `valid` are of another shape, or
            `lambda_temporal` is negative.
    """
    del temporal_encoder
    if predictions.dim() not in (2, 3):
        raise ValueError(f"predictions {tuple(predictions.shape)} must be (B, T, A) or (B, A); reshape them")
    if not lambda_temporal >= 0:
        raise ValueError(f"lambda_temporal={lambda_temporal} must not be negative")
    if valid is None:
        valid = torch.ones(predictions.shape[:1], dtype=torch.bool, device=predictions.device)
    if valid.dtype != torch.bool or valid.dim() < 1 or predictions.shape[: valid.dim()] != valid.shape:
        raise ValueError(
            f"valid {tuple(valid.shape)} ({valid.dtype}) must be bool and a prefix of the predictions' "
            f"{tuple(predictions.shape)}"
        )
    terms = {"action_loss": LossTerm(predictions, targets, valid)}
    if predictions.dim() == 3:
        steps = valid[:, None].expand(predictions.shape[:2]) if valid.dim() == 1 else valid
        terms["temporal_loss"] = LossTerm.smoothness(predictions, steps, lambda_temporal)
    return Objective()(terms).total
