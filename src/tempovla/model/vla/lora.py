"""Low-rank adapters on the linear layers of a language model (LoRA; Hu et al., 2021, arXiv:2106.09685), by peft."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tempovla.model.vla.lora_config import LoRAConfig

ADAPTER = "lora_"
"""Part of the names of an adapter's weights."""
BASE = ".base_layer."
"""Part of the names of the weights beside adapters."""


def add_lora(module: nn.Module, config: LoRAConfig) -> None:
    """Put adapters into a module, in place; its own weights stop learning. Its output does not change.

    Raises:
        ValueError: if no linear layer has such a name.
    """
    add_lora_to_parts([module], config)


def add_lora_to_parts(parts: Sequence[nn.Module], config: LoRAConfig) -> None:
    """`add_lora` for several parts of a model, not all of which need to have such a layer.

    Raises:
        ValueError: if no linear layer of any of them has such a name.
    """
    peft = _peft()
    layers = [[name for name, layer in part.named_modules() if isinstance(layer, nn.Linear)] for part in parts]
    wanted = config.target_modules
    chosen = [[name for name in names if not wanted or _last(name) in wanted] for names in layers]
    if not any(chosen):
        ends = sorted({_last(name) for names in layers for name in names})
        raise ValueError(f"lora.target_modules={list(wanted)} name no layer; choose from {ends}")
    for part, names in zip(parts, chosen, strict=True):
        if names:
            settings = peft.LoraConfig(r=config.r, lora_alpha=config.alpha, target_modules=names)
            peft.inject_adapter_in_model(settings, part)
        for name, parameter in part.named_parameters():
            parameter.requires_grad_(ADAPTER in name)
            if ADAPTER in name:
                parameter.data = parameter.data.float()  # what learns is float32, also beside weights in bfloat16


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def merge_lora(module: nn.Module) -> None:
    """Add every adapter to the weight that it stands beside, and take it out, in place."""
    for parent, name, layer in list(_adapted_layers(module)):
        layer.merge()
        setattr(parent, name, layer.get_base_layer())


class MergedWeights(Mapping[str, Tensor]):
    """The weights of a module with adapters by the names that they have without, the adapters added to them.

    What `merge_lora` does to a module, for its weights alone, each when it is asked for: no second model is needed to
    save them, and nothing is computed of weights that are spread over processes and only named.

    Args:
        weights: of a module that `add_lora` put adapters into; others in it stay as they are.
        config: the given config.
    """

    def __init__(self, weights: Mapping[str, Tensor], config: LoRAConfig) -> None:
        self._weights, self._scale = weights, config.alpha / config.r
        self._names = {name.replace(BASE, "."): name for name in weights if ADAPTER not in name}

    def __getitem__(self, name: str) -> Tensor:
        own = self._names[name]
        weight = self._weights[own]
        layer, base, kind = own.rpartition(BASE)
        if not base or kind != "weight":
            return weight
        down, up = (self._weights[f"{layer}.{ADAPTER}{side}.default.weight"].float() for side in "AB")
        return weight + (self._scale * (up @ down)).to(weight.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _adapted_layers(module: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    tuner_layer = _peft().tuners.tuners_utils.BaseTunerLayer
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, tuner_layer):
                yield parent, name, child


def _peft() -> Any:
    import peft

    return peft
