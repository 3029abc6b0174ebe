"""AdamW, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from tempovla.training.config import ParameterGroupConfig, TrainConfig
from tempovla.training.parallel import is_sharded, scattered


def trainable_parameters(policy: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require a gradient, by name."""
    return {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}


def build_optimizer(policy: nn.Module, config: TrainConfig) -> AdamW:
    """Build AdamW over the trainable parameters, those of `config.parameter_groups` in groups of their own.

    Weight decay applies to parameters of two dimensions or more that are not marked with `_no_weight_decay = True`:
    biases, norms and the likes of Mamba's A_log have none. Each group's `scale` is its learning rate in units of
    `config.learning_rate`.

    Raises:
        ValueError: if the policy has no trainable parameter, or a group has none.
    """
    groups: list[dict[str, Any]] = []
    for name, parameters in parameters_by_group(policy, config).items():
        own = config.parameter_groups.get(name, ParameterGroupConfig())
        decay = config.weight_decay if own.weight_decay is None else own.weight_decay
        scale = 1.0 if own.learning_rate is None else own.learning_rate / config.learning_rate
        decayed = [parameter for parameter in parameters if _decays(parameter)]
        plain = [parameter for parameter in parameters if not _decays(parameter)]
        groups += [
            {"params": decayed, "weight_decay": decay, "scale": scale},
            {"params": plain, "weight_decay": 0.0, "scale": scale},
        ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("the policy has no parameter with requires_grad=True; unfreeze what is to be trained")
    return AdamW(groups, lr=config.learning_rate, fused=True)


def parameters_by_group(policy: nn.Module, config: TrainConfig) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters by name of their group; those of none are under "".

    A parameter is of the group whose name is part of its own, in whole words between dots: `vlm` has `base.vlm.weight`.
    Of several, it is of the longest.

    Raises:
        ValueError: if a group has no trainable parameter.
    """
    found: dict[str, list[nn.Parameter]] = {"": [], **{name: [] for name in config.parameter_groups}}
    trainable = trainable_parameters(policy)
    for name, parameter in trainable.items():
        fitting = [group for group in config.parameter_groups if f".{group}." in f".{name}."]
        found[max(fitting, key=len, default="")].append(parameter)
    empty = next((name for name, parameters in found.items() if name and not parameters), None)
    if empty is not None:
        parts = sorted({name.partition(".")[0] for name in trainable})
        raise ValueError(
            f"training.parameter_groups: {empty!r} is no module with trainable parameters; the policy has {parts} and "
            "their submodules"
        )
    return found


def _decays(parameter: nn.Parameter) -> bool:
    return parameter.dim() >= 2 and not getattr(parameter, "_no_weight_decay", False)


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Use this learning rate in the next step, times the scale of each group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["scale"]


class GradientClip:
    """Scales gradients down to a largest norm: separately for each group with a clip of its own, and together for all
    others.

    Args:
        policy: whose gradients these are.
        config: the clips.
    """

    def __init__(self, policy: nn.Module, config: TrainConfig) -> None:
        rest: list[nn.Parameter] = []
        self._groups: list[tuple[list[nn.Parameter], float]] = []
        for name, parameters in parameters_by_group(policy, config).items():
            own = config.parameter_groups[name].gradient_clip if name else None
            if own is None:
                rest += parameters
            else:
                self._groups.append((parameters, own))
        if rest:
            order = {id(parameter): place for place, parameter in enumerate(policy.parameters())}
            self._groups.insert(0, (sorted(rest, key=lambda each: order[id(each)]), config.gradient_clip))

    def __call__(self) -> Tensor:
        """Clip the gradients; return the norm (scalar) that all of them together had."""
        norms = [clip_gradients(parameters, clip) for parameters, clip in self._groups]
        return norms[0] if len(norms) == 1 else torch.stack(norms).norm()


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a global norm over all shards; return the norm (scalar) that they had."""
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    return norm.full_tensor() if is_sharded(norm) else norm


def _names_in_order(optimizer: AdamW, policy: nn.Module) -> list[str]:
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def optimizer_tensors(optimizer: AdamW, policy: nn.Module) -> dict[str, Tensor]:
    """Return the optimiser's state as `<slot>/<parameter name>` to tensor."""
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
