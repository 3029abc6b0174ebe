"""What is not finite is named."""

from __future__ import annotations

import math

import pytest
import torch

from tempovla.training.divergence import LARGEST, exploded_tensor, non_finite_figure


@pytest.mark.parametrize(
    ("figures", "what"),
    [
        ({"total": 1.0, "action": 2.0, "grad_norm": 3.0}, None),
        ({"total": math.nan, "action": math.nan, "grad_norm": math.nan}, "loss term 'action' is nan"),
        ({"total": math.inf, "grad_norm": 1.0}, "loss term 'total' is inf"),
        ({"total": 1.0, "size": math.inf, "grad_norm": 1.0}, "loss term 'size' is inf"),
        ({"total": 1.0, "grad_norm": math.inf}, "the gradient norm is inf, with a finite loss"),
        ({"val_total": math.nan, "val_action": math.nan}, "validation loss 'val_action' is nan"),
    ],
)
def test_the_term_of_a_step_that_is_not_finite(figures, what):
    assert non_finite_figure(figures) == what


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("weights/a.b", math.nan, "weight 'a.b' holds values that are not finite"),
        ("average/a", -math.inf, "averaged weight 'a' holds values that are not finite"),
        ("optimizer/exp_avg_sq/a", 2 * LARGEST, "optimiser statistic 'exp_avg_sq/a' has grown to 2e+30"),
        ("weights/a", -0.5 * LARGEST, None),
    ],
)
def test_the_tensor_that_has_exploded(name, value, what):
    tensors = {
        "weights/counts": torch.tensor([1, 2]),
        "weights/none": torch.zeros(0),
        "weights/half": torch.ones(2, dtype=torch.bfloat16),
        name: torch.tensor([[0.0, value]]),
    }
    assert exploded_tensor(tensors) == what
