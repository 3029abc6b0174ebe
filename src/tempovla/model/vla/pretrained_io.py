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
from tempovla.timeline.bundle import read_meta
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.model_folder import conversion_remedy

CONFIG, WEIGHTS = "config.json", "model.safetensors"
BUNDLE, BUNDLE_WEIGHTS = "bundle.json", "weights.safetensors"
POLICY = "policy"
"""Key of the name of a policy, in `config.json` as in `bundle.json`."""
VLM_PARTS = ("vision", "projector", "language")
"""Parts of a vision-language model that are not made for acting, and so are worth taking over."""


def save_model(folder: str | Path, kind: str, config: Any, weights: Mapping[str, Tensor]) -> None:
    """Write config and weights of a policy, both in place of older ones at once; other files in the folder stay.

    Args:
        folder: where.
        kind: name in `POLICY_REGISTRY`, which `config.json` holds as `policy`.
        config: of the policy.
        weights: by name.

    Raises:
        NotWrittenError: if the disk does not take them.
    """
    with new_folder(Path(folder), keeps=lambda name: name not in (CONFIG, WEIGHTS)) as staged:
        settings = {POLICY: kind, **config_to_json(config)}
        (staged / CONFIG).write_text(to_json_text(settings, indent=2) + "\n", encoding="utf-8")
        save_tensors(weights, staged / WEIGHTS)


def read_config(folder: str | Path, config_class: type[Any], kind: str | None = None) -> Any:
    """Return the config that `save_model` wrote, or that of a checkpoint of training.

    Args:
        folder: where.
        config_class: its class.
        kind: the required kind of policy, where the checkpoint names one; None takes any.

    Raises:
        ValueError: if there is none, or it is of another policy.
    """
    path, bundle = Path(folder) / CONFIG, Path(folder) / BUNDLE
    if bundle.is_file() and not path.exists():
        meta = read_meta(folder)
        path, told, settings = bundle, meta[POLICY], meta["config"]
    else:
        settings = dict(read_json(path, remedy="give a folder that save_pretrained wrote"))
        told = settings.pop(POLICY, None)
    if kind is not None and told not in (None, kind):
        raise ValueError(f"{path}: is of policy {told!r}, not {kind!r}; load it with the class of that policy")
    return config_from_json(config_class, settings, str(path))


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """Return weights of a saved model, or of a checkpoint of training.

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
    """Load vision encoder, projector and language model, or some of them.

    They may be by themselves, part of a VLA or of SA-GR, or part of a VLA in a context.

    Raises:
        ValueError: if one is missing or of another size.
    """
    weights = {}
    for name, value in read_weights(folder).items():
        for prefix in ("base.", "frames.", "vlm."):
            name = name.removeprefix(prefix)
        weights[name] = value
    for part in parts:
        module = vlm.get_submodule(part)
        own = {name: value for name, value in weights.items() if name.startswith(f"{part}.")}
        if "lm_head.weight" not in module.state_dict():
            own.pop(f"{part}.lm_head.weight", None)  # predicts words, which a policy does not
        load_weights(module, {name.removeprefix(f"{part}."): value for name, value in own.items()}, f"{folder}: {part}")
