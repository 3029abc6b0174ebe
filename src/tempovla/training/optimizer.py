"""AdamW, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from tempovla.training.config import TrainConfig
from tempovla.training.parallel import is_sharded, scattered


def trainable_parameters(policy: nn.Module) -> dict[str, nn.Parameter]:
    """Name to parameter, for those that require a gradient."""
    return {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}


def build_optimizer(policy: nn.Module, config: TrainConfig) -> AdamW:
    """AdamW over the trainable parameters.

    Weight decay applies to parameters of two dimensions or more that are not marked with `_no_weight_decay = True`:
    biases, norms and the likes of Mamba's A_log have none.

    Raises:
        ValueError: if the policy has no trainable parameter.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in trainable_parameters(policy).values():
        marked = getattr(parameter, "_no_weight_decay", False)
        (plain if marked or parameter.dim() < 2 else decayed).append(parameter)
    if not decayed and not plain:
        raise ValueError("the policy has no parameter with requires_grad=True; unfreeze what is to be trained")
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return AdamW([group for group in groups if group["params"]], lr=config.learning_rate, fused=True)


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Use this learning rate in the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a global norm, that over all shards; the norm (scalar) that they had."""
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    return norm.full_tensor() if is_sharded(norm) else norm


def _names_in_order(optimizer: AdamW, policy: nn.Module) -> list[str]:
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def optimizer_tensors(optimizer: AdamW, policy: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state as `<slot>/<parameter name>` to tensor."""
    names = _names_in_order(optimizer, policy)
    state = optimizer.state_dict()["state"]
    return {f"{slot}/{names[index]}": value for index, slots in state.items() for slot, value in slots.items()}


def load_optimizer_tensors(optimizer: AdamW, policy: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` gave, in the memory layout of the parameters.

    The fused AdamW walks a parameter and its moments in memory order: where one is channels-last and the other is not,
    it would pair up the wrong entries without a word.
    """
    index_of = {name: index for index, name in enumerate(_names_in_order(optimizer, policy))}
    parameters = dict(policy.named_parameters())
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        slot, name = key.split("/", 1)
        is_moment = value.shape == parameters[name].shape
        like = parameters[name].detach()
        laid_out = torch.empty_like(like).copy_(scattered(value, like)) if is_moment else value
        state.setdefault(index_of[name], {})[slot] = laid_out
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
