"""Random samples and contexts that fit a policy's windows, to check the laws on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from tempovla.timeline.keys import (
    DEPTH_KEY_PREFIX,
    DONE_KEY,
    POINTS_KEY_PREFIX,
    SUCCESS_KEY,
    TERMINATED_KEY,
    TOKENS_KEY,
    WORDS_KEY,
    dims_key,
)
from tempovla.timeline.noise import row_integers, row_normal, row_uniform
from tempovla.timeline.sample import Context, TimelineSample, split_tracks
from tempovla.timeline.task import Embodiment, Task
from tempovla.timeline.track import Track
from tempovla.timeline.window import Window

VOCABULARY = 16
"""Ids of tokens lie below it."""
DATASETS = ("left", "right")
INSTRUCTIONS = ("open the drawer", "push the button", "close the window")
EMBODIMENT = Embodiment("toy", state_dim=3, action_dim=2, rate_hz=10.0)
_NO_TOKEN = -1

Shapes = Mapping[str, tuple[int, ...]]


def random_track(window: Window, shape: tuple[int, ...], rows: int, seed: int) -> Track:
    """Return values for one window, all of them valid.

    Streams of three dimensions are pictures and hold bytes; those under keys of depth hold distances of 0.5 m to 1.5 m,
    and now and then 0, which is no reading. About a quarter of all points are absent. Token ids are whole numbers,
    `.dims`, `next.success`, `next.done` and `next.terminated` are bools, and the rest is normal.
    """
    size = (rows, len(window.offsets), *shape)
    row_seed = torch.arange(rows) + 1000 * seed
    if window.key == TOKENS_KEY:
        return Track.of(row_integers(row_seed, _NO_TOKEN, VOCABULARY, size[1:]), window.offsets)
    if window.key.endswith(dims_key("")) or window.key in (SUCCESS_KEY, DONE_KEY, TERMINATED_KEY):
        return Track.of(row_uniform(row_seed, size[1:]) < 0.5, window.offsets)
    if window.key.startswith(DEPTH_KEY_PREFIX):
        share = row_uniform(row_seed, size[1:])
        return Track.of(torch.where(share < 0.1, 0.0, 0.5 + share), window.offsets)
    if window.key.startswith(POINTS_KEY_PREFIX):
        absent = row_uniform(row_seed, size[1:-1], stream=1) < 0.25
        points = torch.where(absent[..., None], torch.nan, row_normal(row_seed, size[1:]))
        return Track.of_points(points, window.offsets)
    if len(shape) == 3:
        return Track.of((row_uniform(row_seed, size[1:]) * 256).to(torch.uint8), window.offsets)
    return Track.of(row_normal(row_seed, size[1:]), window.offsets)


def random_sample(
    windows: Sequence[Window], shapes: Shapes, *, rows: int = 4, seed: int = 0, body: Embodiment = EMBODIMENT
) -> TimelineSample:
    """Return a batch, all valid, that fits the windows of a policy; in the place of past words there are token ids.

    Args:
        windows: of the policy.
        shapes: of one value of every stream, by key, as the policy sees it; a stream without a window has a track at
            offset 0.
        rows: of the batch.
        seed: the same seed gives the same sample.
        body: of all rows.
    """
    windows = [Window(TOKENS_KEY, (*each.offsets, 0)) if each.key == WORDS_KEY else each for each in windows]
    keys = [window.key for window in windows]
    windows = [*windows, *(Window(key, (0,)) for key in shapes if key not in keys)]
    tracks = {
        window.key: random_track(window, shapes[window.key], rows, seed * 100 + index)
        for index, window in enumerate(windows)
    }
    past, now, future = split_tracks(tracks)
    names = [(INSTRUCTIONS[row % len(INSTRUCTIONS)], DATASETS[row % len(DATASETS)]) for row in range(rows)]
    task = tuple(Task(instruction, body, dataset) for instruction, dataset in names)
    context = Context(past, now, task, first=torch.ones(rows, dtype=torch.bool))
    return TimelineSample(context, future, seed=torch.arange(rows) + 7)


def random_contexts(
    windows: Sequence[Window], shapes: Shapes, *, steps: int = 6, rows: int = 4, body: Embodiment = EMBODIMENT
) -> list[Context]:
    """Return successive contexts of the same rows, all of which start at the first step; see `random_sample`."""
    contexts = [random_sample(windows, shapes, rows=rows, seed=seed, body=body).context for seed in range(steps)]
    return [replace(context, first=torch.full((rows,), step == 0)) for step, context in enumerate(contexts)]
