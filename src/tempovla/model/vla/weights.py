"""Weights by name: loading weights that must fit exactly, and building the modules into which they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tempovla.timeline.tensors import check_learned

RANDOM_FILLS = frozenset(
    {
        "erfinv_",
        "kaiming_normal_",
        "kaiming_uniform_",
        "normal_",
        "trunc_normal_",
        "uniform_",
        "xavier_normal_",
        "xavier_uniform_",
    }
)
"""What gives a large weight its first values, in place, and costs time: methods of tensors, and functions of
torch.nn.init by name, as transformers puts its own in the place of these."""

_MOST_TIMES, _LEAST_NUMBERS = 4, 25_000_000


class WeightsFollow(TorchFunctionMode):
    """While a model is built whose weights are all loaded next: these begin at zero instead of at random values.

    Anything else is as ever, such as buffers that are computed and are in no file. No random numbers are drawn for
    weights, so what is random afterwards differs from that after a plain build.

    Args:
        numbers: how many follow; a config that asks for many times as many is refused before it takes their memory.
    """

    def __init__(self, numbers: int | None = None) -> None:
        super().__init__()
        self._made = 0
        self._most = None if numbers is None else _MOST_TIMES * max(numbers, _LEAST_NUMBERS)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, unless it fills a weight."""
        options = kwargs or {}
        if getattr(func, "__name__", "") in RANDOM_FILLS:
            filled = args[0] if args else options.get("tensor")
            if isinstance(filled, nn.Parameter):
                with torch.no_grad():
                    return filled.zero_()
        made = func(*args, **options)
        if self._most is not None and getattr(func, "__name__", "") == "empty":
            self._made += made.numel()
            if self._made > self._most:
                raise ValueError(
                    f"the config describes more than {self._most:,} weights, one of them of shape {tuple(made.shape)}, "
                    "but not a quarter of them is stored; copy the checkpoint again"
                )
        return made


def load_weights(policy: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load weights that must fit exactly; `where` they come from is for the message.

    Raises:
        ValueError: naming the first weight that is missing, unknown, of another shape, or beyond what training gives.
    """
    own = policy.state_dict()
    for key in sorted({*own, *weights}):
        if key not in weights:
            raise ValueError(f"{where}: lacks weight {key!r}; give a checkpoint of this config")
        if key not in own:
            raise ValueError(f"{where}: has weight {key!r} of another model; give a checkpoint of this config")
        if own[key].shape != weights[key].shape:
            raise ValueError(
                f"{where}: weight {key!r} is {tuple(weights[key].shape)}, but {tuple(own[key].shape)} in the model; "
                "give a checkpoint of this config"
            )
    check_learned({name: weights[name] for name, _ in policy.named_parameters()}, where)
    policy.load_state_dict(weights)
