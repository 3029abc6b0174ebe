"""Checks of a single sample of now and k steps later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tempovla.data.temporal.view import TemporalView
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.source import EpisodeSource
from tempovla.transform.image import resize_frames


def sample_problem(
    row: Mapping[str, Any], view: TemporalView, source: EpisodeSource, episode: int, step: int
) -> str | None:
    """Return what is wrong with the keys, types, shapes or validity of a sample; None if it is sound.

    Args:
        row: the sample whose now is `step`.
        view: how it was made.
        source: the dataset.
        episode: of the dataset.
        step: of the episode.
    """
    return (
        pictures_problem(row, view)
        or _numbers_problem(row, view, source)
        or _equality_problem(row, view)
        or _validity_problem(row, view, source, episode, step)
    )


def pictures_problem(row: Mapping[str, Any], view: TemporalView) -> str | None:
    """Return whether a sample holds something else than the pictures of all cameras."""
    for key in ("image", "image_t", "image_tk"):
        pictures = row.get(key)
        if not isinstance(pictures, list) or len(pictures) != len(view.cameras):
            return f"{key} is no list of {len(view.cameras)} pictures"
        for picture in pictures:
            if not isinstance(picture, Image.Image) or (picture.mode, picture.size) != ("RGB", (view.size, view.size)):
                return f"{key} holds something else than RGB pictures of {view.size} x {view.size} pixels"
    return None


def _numbers_problem(row: Mapping[str, Any], view: TemporalView, source: EpisodeSource) -> str | None:
    horizon = view.config.action_horizon
    shapes: dict[str, tuple[int, ...]] = {"action": (horizon, *source.streams[ACTION_KEY].shape)}
    if view.include_state:
        shapes |= dict.fromkeys(("state", "state_t", "state_tk"), (1, *source.streams[STATE_KEY].shape))
    for key, shape in shapes.items():
        value = row.get(key)
        if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.shape != shape:
            return f"{key} is no float32 array of shape {list(shape)}"
        if not np.isfinite(value).all():
            return f"{key} holds a number that is not finite"
    flags = row.get("action_valid")
    if not isinstance(flags, np.ndarray) or flags.dtype != np.bool_ or flags.shape != (horizon,):
        return f"action_valid is no array of {horizon} truth values"
    if not isinstance(row.get("lang"), str) or not row["lang"]:
        return "lang is no text; set data.default_instruction, or add the instruction to the dataset"
    if row.get("temporal_delta_k") != view.k:
        return f"temporal_delta_k is {row.get('temporal_delta_k')}, not {view.k}"
    return None


def _equality_problem(row: Mapping[str, Any], view: TemporalView) -> str | None:
    """Return whether the keys of before differ from those of now."""
    for old, new in zip(row["image"], row["image_t"], strict=True):
        if not np.array_equal(np.array(old), np.array(new)):
            return "image differs from image_t"
    if view.include_state and not np.array_equal(row["state"], row["state_t"]):
        return "state differs from state_t"
    return None


def _validity_problem(
    row: Mapping[str, Any], view: TemporalView, source: EpisodeSource, episode: int, step: int
) -> str | None:
    length = source.episode(episode).length
    later = step + view.k
    keys = (*view.cameras, *((STATE_KEY,) if view.include_state else ()))
    expected = float(later < length and all(source.read(episode, key, [later]).valid.all() for key in keys))
    if row["valid_tk"] != expected:
        return (
            f"valid_tk is {row['valid_tk']}, but {expected} is right: the episode has {length} steps and k is {view.k}"
        )
    acted = [step + offset for offset in view.config.action_indices]
    done = source.read(episode, ACTION_KEY, acted).valid
    if not np.array_equal(row["action_valid"], done):
        return f"action_valid is {row['action_valid'].tolist()}, but {done.tolist()} is right"
    return None


def decode_problem(
    row: Mapping[str, Any], view: TemporalView, again: EpisodeSource, episode: int, step: int
) -> str | None:
    """Return how the pictures of a sample differ from frames that are decoded one by one; None if they are equal.

    Of a sample without a target, whose `image_tk` is the last frame in the place of a later one, `image_t` alone is
    compared.

    Args:
        row: the sample whose now is `step`, with the pictures of all cameras.
        view: how it was made.
        again: the dataset, opened once more, so that nothing is shared with what made the sample.
        episode: of the dataset.
        step: of the episode.
    """
    later = step + view.k
    for key, at in (("image_t", step), *((("image_tk", later),) if later < again.episode(episode).length else ())):
        for place, camera in enumerate(view.cameras):
            frame = again.read(episode, camera, [at]).value
            expected = _resized(frame, view.size)
            difference = int(np.abs(np.array(row[key][place]).astype(int) - expected).max())
            if difference > 0:
                return f"{key} of {camera!r} is not the frame of step {at}: pixels differ by up to {difference} of 255"
    return None


def _resized(frame: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """A frame (1, H, W, 3) as a model sees it, (size, size, 3)."""
    small = resize_frames(torch.from_numpy(frame).permute(0, 3, 1, 2), size)
    return small[0].permute(1, 2, 0).numpy().astype(np.int64)
