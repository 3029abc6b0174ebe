"""Settings of a trained model that control alone reads, changed without a new training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.timeline import Bundle
from tempovla.timeline.arguments import brief, plain
from tempovla.timeline.config import config_from_json


def with_model_settings(bundle: Bundle, settings: Mapping[str, Any] | None) -> Bundle:
    """Return a bundle whose policy acts with other settings; its weights stay as they are.

    Args:
        bundle: of a checkpoint.
        settings: values by key, nested or with dots, such as `{"rrr_replan_threshold": 1.5}`. Only keys that the config
            of the policy lists in `control_fields` may be given, and none that it names in `without_effect`.

    Raises:
        ValueError: naming the key, if control does not read it alone, its value does not fit, or this policy does not
            read it at all.
    """
    if settings is None:
        return bundle
    if not isinstance(settings, Mapping):
        raise ValueError(f"model={brief(settings)}: give names and values, such as {{'rrr_replan_threshold': 1.5}}")
    config_class = POLICY_REGISTRY[bundle.policy][1] if bundle.policy in POLICY_REGISTRY else None
    known = sorted(getattr(config_class, "control_fields", ()))
    config: dict[str, Any] = dict(bundle.config)
    given = dict(_flat(settings))
    for key, value in given.items():
        if key not in known:
            near = get_close_matches(key, known, 1)
            others = f"those that may be given are {known}" if known else "there are none that may be given"
            hint = f"did you mean {near[0]!r}?" if near else others
            raise ValueError(
                f"model.{key} is no setting of policy {bundle.policy!r} that can be changed without a training; {hint}"
            )
        config = _set(config, key.split("."), plain(value))
    if config_class is not None:
        built = config_from_json(config_class, config, "model")
        for key, reason in getattr(built, "without_effect", {}).items():
            if key in given:
                raise ValueError(f"model.{key}={brief(given[key])} has no effect: {reason}")
    return replace(bundle, config=config)


def _flat(settings: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", value


def _set(config: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {**config, first: _set(config[first], rest, value) if rest else value}
