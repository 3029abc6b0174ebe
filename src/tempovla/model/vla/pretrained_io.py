"""A VLA in a folder: `config.json` and `model.safetensors`, and a vision-language model taken from such a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tempovla.model.vla.weights import load_weights
from tempovla.storage.json_files import read_json, to_json_text
from tempovla.storage.tensors import save_tensors
from tempovla.storage.whole import new_folder
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.model_folder import conversion_remedy

CONFIG, WEIGHTS, BUNDLE_WEIGHTS = "config.json", "model.safetensors", "weights.safetensors"
VLM_PARTS = ("vision", "projector", "language")
"""Parts of a vision-language model that are not made for acting, and so are worth taking over."""


def save_model(folder: str | Path, config: Any, weights: Mapping[str, Tensor]) -> None:
    """Write config and weights of a model, both in place of older ones at once; other files in the folder stay.

    Raises:
        NotWrittenError: if the disk does not take them.
    """
    with new_folder(Path(folder), keeps=lambda name: name not in (CONFIG, WEIGHTS)) as staged:
        (staged / CONFIG).write_text(to_json_text(config_to_json(config), indent=2) + "\n", encoding="utf-8")
        save_tensors(weights, staged / WEIGHTS)


def read_config(folder: str | Path, config_class: type[Any]) -> Any:
    """The config that `save_model` wrote.

    Raises:
        ValueError: if there is none, or it is of another model.
    """
    path = Path(folder) / CONFIG
    return config_from_json(config_class, read_json(path, remedy="give a folder that save_pretrained wrote"), str(path))


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """Weights of a saved model, or of a checkpoint of training.

    Raises:
        ValueError: if there are none, or the file is damaged.
    """
    root = Path(folder)
    path = root / WEIGHTS if (root / WEIGHTS).exists() else root / BUNDLE_WEIGHTS
    if not path.exists():
        if (remedy := conversion_remedy(root)) is not None:
            raise ValueError(f"{root}: {remedy}")
        raise ValueError(f"{root}: holds no {WEIGHTS} or {BUNDLE_WEIGHTS}; give a saved model or a checkpoint")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not readable ({error}); copy it again") from None


def load_vlm_parts(vlm: nn.Module, folder: str | Path, parts: Sequence[str] = VLM_PARTS) -> None:
    """Load vision encoder, projector and language model, or some of them, as part of a VLA or by themselves.

    Raises:
        ValueError: if one is missing or of another size.
    """
    weights = {name.removeprefix("vlm."): value for name, value in read_weights(folder).items()}
    for part in parts:
        module = vlm.get_submodule(part)
        own = {name: value for name, value in weights.items() if name.startswith(f"{part}.")}
        if "lm_head.weight" not in module.state_dict():
            own.pop(f"{part}.lm_head.weight", None)  # predicts words, which a policy does not
        load_weights(module, {name.removeprefix(f"{part}."): value for name, value in own.items()}, f"{folder}: {part}")
