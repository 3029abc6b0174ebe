"""Transformers models by name on a hub or local folder, or fresh from their architecture; errors of one line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from tempovla.timeline.model_folder import (
    check_config,
    check_tokenizer,
    excessive_size,
    first_reason,
    one_line_errors,
    safetensors_of,
)
from tempovla.timeline.tensors import check_learned

C = TypeVar("C", bound=Any)


def as_config(config_class: type[C], given: C | str | None, fields: Mapping[str, Any]) -> C:
    """Return a config with some of its fields replaced, or a new one, by the name of a model alone if need be."""
    if given is None:
        return config_class(**fields)
    if isinstance(given, str):
        return config_class(given, **fields)
    return dataclasses.replace(given, **fields) if fields else given


def read_config(name_or_path: str, part: str | None, purpose: str) -> Any:
    """Return the transformers config of a model, or that of its `part` if the model has several.

    Args:
        name_or_path: a hub's name or a local folder.
        part: key of the config that is wanted of a model of pictures and text, such as `vision_config`.
        purpose: the model's purpose, for messages, such as `vision model`.

    Raises:
        ValueError: if there is no such model.
    """
    from transformers import AutoConfig

    if Path(name_or_path).is_dir():
        check_config(Path(name_or_path), purpose)
    with one_line_errors(name_or_path, purpose):
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    return config if part is None else getattr(config, part, config)


def config_of(architecture: Mapping[str, Any], purpose: str) -> Any:
    """Return the transformers config that `architecture_of` wrote.

    Raises:
        ValueError: if `model_type` is missing or unknown, or a value does not fit.
    """
    from transformers import AutoConfig

    settings = dict(architecture)
    model_type = settings.pop("model_type", None)
    with _architecture_errors(purpose):
        if model_type is None:
            raise ValueError("it has no model_type")
        excess = excessive_size(settings)
        if excess is not None:
            raise ValueError(excess)
        return AutoConfig.for_model(model_type, **settings)


def fresh_model(model_class: Any, config: Any, purpose: str, **options: Any) -> Any:
    """Return a model of `config_of`'s config, with fresh weights.

    Args:
        model_class: one of transformers' auto classes.
        config: what it is.
        purpose: the model's purpose, for messages.
        options: more for `from_config`, such as `dtype`.

    Raises:
        ValueError: if its values do not fit together.
    """
    with _architecture_errors(purpose):
        return model_class.from_config(config, **options)


@contextmanager
def _architecture_errors(purpose: str) -> Iterator[None]:
    """What transformers makes of settings that do not fit, which it seldom says itself, is a `ValueError`."""
    from huggingface_hub.errors import StrictDataclassError

    misfits = (ValueError, TypeError, KeyError, ArithmeticError, AssertionError, RuntimeError, StrictDataclassError)
    try:
        yield
    except misfits as error:
        raise ValueError(
            f"architecture of the {purpose} cannot be built ({first_reason(error)}); give the settings of a "
            "transformers config with its model_type, such as qwen2"
        ) from None


def architecture_of(config: Any) -> dict[str, Any]:
    """Return all settings of a transformers config as plain JSON values."""
    settings = json.loads(config.to_json_string(use_diff=False))
    for key in ("_name_or_path", "transformers_version", "architectures", "dtype"):
        settings.pop(key, None)
    return settings


def load_model(
    model_class: Any, name_or_path: str, config: Any, purpose: str, may_lack: tuple[str, ...] = (), **options: Any
) -> nn.Module:
    """Return a model with all its weights, from safetensors files alone.

    Args:
        model_class: one of transformers' auto classes.
        name_or_path: a hub's name or a local folder.
        config: the value of `read_config`.
        purpose: the model's purpose, for messages.
        may_lack: parts of names of weights that nothing uses, which need not be there.
        options: more for `from_pretrained`, such as `dtype`.

    Raises:
        ValueError: if there are no such weights, a file of them is missing or damaged, or some of the model's are
            missing or of another shape.
    """
    if Path(name_or_path).is_dir():
        safetensors_of(Path(name_or_path), purpose)
    with one_line_errors(name_or_path, purpose), _no_loading_report():
        settings: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, **options}
        model, loading = model_class.from_pretrained(
            name_or_path, config=config, ignore_mismatched_sizes=True, **settings
        )
        for name, stored, wanted in sorted(loading["mismatched_keys"]):
            raise ValueError(f"weight {name!r} is {tuple(stored)}, but {tuple(wanted)} by config.json")
    missing = sorted(name for name in loading["missing_keys"] if not any(part in name for part in may_lack))
    if missing:
        raise ValueError(f"{purpose} {name_or_path!r} lacks weights such as {missing[0]!r}; give a whole checkpoint")
    check_learned({name: value for name, value in model.named_parameters() if name not in missing}, name_or_path)
    return model


def load_tokenizer(name_or_path: str) -> Any:
    """Return the transformers tokenizer of a model.

    Raises:
        ValueError: if it has none.
    """
    from transformers import AutoTokenizer

    if Path(name_or_path).is_dir():
        check_tokenizer(Path(name_or_path), "set the model's tokenizer")
    with one_line_errors(name_or_path, "tokenizer"), _no_loading_report():
        return AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)


def local_folder(name_or_path: str, purpose: str) -> Path:
    """Return a folder itself, or where a checkpoint of that name on the hub was put: its JSON and safetensors files
    alone.

    Raises:
        ValueError: if there is no such checkpoint.
    """
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    from huggingface_hub import snapshot_download

    with one_line_errors(name_or_path, purpose):
        return Path(snapshot_download(name_or_path, allow_patterns=["*.json", "*.safetensors"]))


def read_image_processor(name_or_path: str) -> dict[str, Any]:
    """Return the settings of the image processor of a vision model.

    Raises:
        ValueError: if it has none.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    with one_line_errors(name_or_path, "image processor of vision model"):
        processor, _ = ImageProcessingMixin.get_image_processor_dict(name_or_path)
    return processor


@contextmanager
def _no_loading_report() -> Iterator[None]:
    """Without transformers' table of weights that a part of a model does not need; what is missing is an error here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def recompute_layers(model: Any, on: bool) -> None:
    """Make a transformers model keep only each layer's input for the backward pass, and compute the rest again.

    It does so in its layers that are in training mode; see `let_layers_recompute`.
    """
    # Until 5.22, transformers calls it gradient checkpointing.
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    else:
        getattr(model, f"{kind}_checkpointing_disable")()


def let_layers_recompute(model: nn.Module, on: bool) -> None:
    """Put the layers of a frozen transformers model into training mode or out of it, and nothing within them.

    Transformers computes nothing again in evaluation mode, in which a frozen model stays. A layer's own mode decides
    about that alone: what else depends on the mode, such as dropout, is within it, and stays as it is.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = on


def torch_dtype(name: str) -> torch.dtype:
    """`bfloat16` or `float32` as torch has it."""
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
