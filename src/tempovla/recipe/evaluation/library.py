"""Which earlier episodes a policy looks up while it is evaluated."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tempovla.control.controller import Actor
from tempovla.env.protocol import SimulatorConfig
from tempovla.timeline import Bundle

LOGGER = logging.getLogger(__name__)


def choose_library(
    actor: Actor, library: str | Path | None, bundle: Bundle, env_config: SimulatorConfig
) -> dict[str, Any]:
    """Give a policy that retrieves the library of an evaluation; without one it keeps that of its training.

    Args:
        actor: the policy behind its transforms.
        library: as of `evaluate_checkpoint`.
        bundle: holds how the demonstrations were recorded.
        env_config: where it is evaluated.

    Returns:
        What results say of the library; empty where none is given.

    Raises:
        ValueError: if the library does not fit the policy, or that of its training is of another place than the
            evaluation, such as of another house of the memory benchmark.
    """
    context = bundle.config.get("context") or {}
    if library is None:
        if context.get("retrieval") is not None:
            other = _other_place(bundle.provenance.get("recording", {}), env_config)
            if other is not None:
                name, trained, here = other
                raise ValueError(
                    f"{name}={here}, but the earlier episodes that the policy knows are of {name}={trained}; give "
                    f"library (--library) with episodes of {name}={here}, or {name}={trained}"
                )
        return {}
    from tempovla.control.library import give_library, library_sha256

    recording = give_library(actor, library, bundle.provenance)
    other = _other_place(recording, env_config)
    if other is not None:
        LOGGER.warning(
            "library %s is of %s=%s, but the evaluation is in %s=%s", library, *other[:2], other[0], other[2]
        )
    return {"library": {"place": str(library), "sha256": library_sha256(actor.policy)}}  # type: ignore[attr-defined]


def _other_place(recording: Mapping[str, Any], env_config: SimulatorConfig) -> tuple[str, Any, Any] | None:
    """The first setting in which an evaluation may differ from demonstrations and does, and both values."""
    for name in env_config.varied:
        here = getattr(env_config, name)
        if recording.get(name, here) != here:
            return name, recording[name], here
    return None
