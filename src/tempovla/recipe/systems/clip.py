"""Clips of action heads: a warning where a head cannot reach every demonstrated action."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tempovla.model.action_head.diffusion_action_head import DEFAULT_CLIP
from tempovla.model.action_head.transformer_action_head import DEFAULT_BIN_RANGE
from tempovla.model.vla.vla_config import VLAConfig
from tempovla.recipe.datasets.config import ObservationConfig
from tempovla.recipe.datasets.dataset import action_config
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.recipe.datasets.streams import Streams
from tempovla.timeline import EpisodeSource
from tempovla.timeline.keys import ACTION_KEY
from tempovla.transform.scaling import fit_scaling

LOGGER = logging.getLogger(__name__)


def with_reaching_clip(model: VLAConfig, settings: ObservationConfig, data: DatasetMixture) -> VLAConfig:
    """Return the model with a diffusion head whose clip reaches every demonstrated action; a change is logged.

    A limit that the user chose stays, with a warning about actions beyond it: a given clip, the bins of a
    transformer head, and the hyperbolic tangent of a Gaussian one. Heads without a limit need nothing.
    """
    limit, remedy = _limit(model)
    if limit is None:
        return model
    parts = [(member.source, member.streams(model)) for member in data.members]
    reach, found = max((_furthest(part, streams, settings) for part, streams in parts), key=lambda each: each[0])
    if reach <= limit * (1 + 1e-6):
        return model
    needed = math.ceil(reach * 10) / 10
    if remedy:
        what = f"{found}, which the {model.action_head} head, limited to {limit:g}, cannot produce"
        LOGGER.warning("%s; set %s", what, remedy.format(needed=needed))
        return model
    LOGGER.warning(
        "%s, further than the diffusion head's clip of %g, which is widened to %g; if it is an outlier, remove it",
        *(found, limit, needed),
    )
    widened = {**model.action_head_options.get("diffusion", {}), "clip_sample": needed}
    return replace(model, action_head_options={**model.action_head_options, "diffusion": widened})


def _limit(model: VLAConfig) -> tuple[float | None, str]:
    """How far from 0 the head's actions reach, None for any distance, and what to set for more; "" where it widens."""
    options: Mapping[str, Any] = model.action_head_options.get(model.action_head, {})
    place = f"model.action_head_options.{model.action_head}"
    if model.action_head == "diffusion":
        given = f"{place}.clip_sample={{needed:g}}, or to null for no clip" if "clip_sample" in options else ""
        return options.get("clip_sample", DEFAULT_CLIP), given
    if model.action_head == "transformer" and options.get("num_bins"):
        return options.get("bin_range", DEFAULT_BIN_RANGE), f"{place}.bin_range={{needed:g}}"
    if model.action_head == "gaussian" and options.get("squash"):
        return 1.0, f"{place}.squash=false, or transform.action_normalization=min_max"
    return None, ""


def _furthest(source: EpisodeSource, streams: Streams, settings: ObservationConfig) -> tuple[float, str]:
    """How far from 0 the furthest demonstrated action lies once it is normalised, and which one it is."""
    statistics, config = source.statistics[ACTION_KEY], action_config(streams, settings)
    scaling = fit_scaling(ACTION_KEY, statistics, config.mode, config.keep)
    ends = np.stack([np.asarray(statistics[name], dtype=np.float64).reshape(-1) for name in ("min", "max")])
    distance = np.abs((ends - scaling.offset) / scaling.scale)
    end, d = np.unravel_index(np.argmax(distance), distance.shape)
    names = source.streams[ACTION_KEY].names
    name = f" ({names[d]})" if d < len(names) else ""
    told = (
        f"{source.name}: the action {ends[end, d]:.6g} of {ACTION_KEY!r} dimension {d}{name} is "
        f"{distance[end, d]:.4g} when normalised"
    )
    return float(distance[end, d]), told
