"""A timeline sample as one dict a row, by the keys that readers of SA-GR's samples know, and back.

=====================  ====================================================================================
key                    value
=====================  ====================================================================================
`image_t`, `image_tk`  lists of RGB pictures (PIL) of now and of k steps later, one a camera
`image`                the same list as `image_t`
`valid_tk`             1.0 where all that is read at t + k was really observed, else 0.0
`temporal_delta_k`     k
`action`               float32 (T, A), the actions from now on
`action_valid`         bool (T,), False for the copies of the last action behind an episode's end
`lang`                 the instruction of now
`state_t`, `state_tk`  float32 (1, P), if the state is included; `state` is the same array as `state_t`
`image_tmk`            pictures of k steps before now, if the past is included; `state_tmk` likewise
`action_prev`          float32 (k, A), the actions since then
`valid_tmk`            1.0 where all of that was really observed, else 0.0
`action_tk`            float32 (T, A), the actions from t + k on, if they are included; `action_tk_valid` bool (T,)
`dataset`              name of the dataset whose statistics the row's values go by; "" if there is only one
`seed`, `first`        the row's seed of all randomness, and whether it begins an episode
=====================  ====================================================================================

Validity is kept once, in the tracks of the timeline sample; the view computes these keys from it. What was not observed
has some value of the right shape, and `valid_tk` or `valid_tmk` is 0.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.rows import RowReader, given
from tempovla.timeline.arguments import whole_number
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.noise import row_seeds
from tempovla.timeline.sample import Context, TimelineSample, split_tracks
from tempovla.timeline.task import Embodiment, Task
from tempovla.timeline.track import Track
from tempovla.timeline.window import Window
from tempovla.transform.image import check_side, resize_frames

Row = Mapping[str, Any]
"""One sample as a dict; see the table above."""


@dataclass(frozen=True)
class TemporalView:
    """How timeline samples of one dataset become dicts, and dicts timeline samples.

    Attributes:
        config: the steps that are read.
        cameras: keys of the pictures, in the order of the lists.
        k: how many steps later the target is. Where `config` does not observe that step, no row has a target.
        size: side of the pictures [px].
        include_state: whether rows hold the state.
        include_past: whether rows hold what was observed k steps before now, and the actions since.
        include_later_actions: whether rows hold the actions from t + k on, against which a prediction that was made
            for t + k is scored.
    """

    config: TemporalDataConfig
    cameras: tuple[str, ...]
    k: int
    size: int = 224
    include_state: bool = False
    include_past: bool = False
    include_later_actions: bool = False

    def __post_init__(self) -> None:
        whole_number("k", self.k, 1)
        check_side(self.size)
        if not self.cameras:
            raise ValueError("a sample of now and later needs pictures; name at least one camera")
        for name in ("include_state", "include_past", "include_later_actions"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r} is neither true nor false; give True or False")

    @property
    def has_target(self) -> bool:
        """Whether the step k after now is read."""
        return self.k in self.config.observation_indices

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """The windows that rows are made of, one a stream."""
        observed = {0, *({self.k} if self.has_target else ()), *({-self.k} if self.include_past else ())}
        acted = {*self.config.action_indices, *(range(-self.k, 0) if self.include_past else ())}
        if self.include_later_actions:
            acted |= {self.k + step for step in self.config.action_indices}
        keys = (*((STATE_KEY,) if self.include_state else ()), *self.cameras)
        return (*(Window(key, tuple(sorted(observed))) for key in keys), Window(ACTION_KEY, tuple(sorted(acted))))

    def rows(self, sample: TimelineSample) -> list[dict[str, Any]]:
        """Return one dict for each row of a sample, whose frames are uint8 (B, T, H, W, 3) as a loader yields them."""
        values: list[dict[str, Any]] = [
            {"lang": task.instruction, "temporal_delta_k": self.k, "dataset": task.dataset}
            for task in sample.context.task
        ]
        for value, seed, first in zip(values, sample.seed.tolist(), sample.context.first.tolist(), strict=True):
            value |= {"seed": seed, "first": first}
        self._add_observations(values, sample, "t", 0)
        self._add_observations(values, sample, "tk", self.k if self.has_target else None)
        acted = [*self.config.action_indices]
        self._add_actions(values, sample, "action", acted)
        if self.include_past:
            self._add_observations(values, sample, "tmk", -self.k)
            self._add_actions(values, sample, "action_prev", range(-self.k, 0))
            for value in values:
                value["valid_tmk"] *= float(value.pop("action_prev_valid").all())
        if self.include_later_actions:
            self._add_actions(values, sample, "action_tk", [self.k + step for step in acted])
        for value in values:
            value["image"] = value["image_t"]
            del value["valid_t"]
            if self.include_state:
                value["state"] = value["state_t"]
        return values

    def _add_observations(
        self, values: list[dict[str, Any]], sample: TimelineSample, name: str, offset: int | None
    ) -> None:
        """Add the pictures and the state at one offset, and whether they were observed; None for none ever is."""
        valid = torch.full((len(values),), offset is not None)
        pictures = []
        for camera in self.cameras:
            frames, seen = _at(sample, camera, 0 if offset is None else offset)
            valid &= seen
            pictures.append(resize_frames(frames.permute(0, 3, 1, 2), self.size).permute(0, 2, 3, 1).numpy())
        if self.include_state:
            states, seen = _at(sample, STATE_KEY, 0 if offset is None else offset)
            valid &= seen
            for value, state in zip(values, states, strict=True):
                value[f"state_{name}"] = state[None].float().numpy().copy()
        for row, value in enumerate(values):
            value[f"image_{name}"] = [Image.fromarray(frames[row]) for frames in pictures]
            value[f"valid_{name}"] = float(valid[row])

    def _add_actions(
        self, values: list[dict[str, Any]], sample: TimelineSample, name: str, offsets: Sequence[int]
    ) -> None:
        read = [_at(sample, ACTION_KEY, offset) for offset in offsets]
        actions = torch.stack([action for action, _ in read], dim=1).float().numpy()
        valid = torch.stack([seen for _, seen in read], dim=1).numpy()
        for row, value in enumerate(values):
            value[name], value[f"{name}_valid"] = actions[row].copy(), valid[row].copy()

    def sample(self, rows: Sequence[Row], embodiment: Embodiment) -> TimelineSample:
        """Return dicts as one timeline sample, which the transforms of a policy and then its `forward` take.

        Readers prefer `image_t` to `image` and `state_t` to `state`. A row without `image_tk` or without `valid_tk`
        has no target: nothing takes its place. Actions without `action_valid` all count, as there is nothing else to
        go by. Rows without a seed get one from torch's generator.

        Args:
            rows: at least one, in the form that `rows` returns, or with the keys of now alone.
            embodiment: the body. If the rows are normalised already, leave the normalisation out of the transforms.

        Raises:
            ValueError: naming the row and the key, if something is missing or of another shape.
        """
        if not rows:
            raise ValueError("a batch holds no row; give at least one")
        reader = RowReader(rows, self.cameras)
        tracks = reader.images("image_t", "image", 0)
        if self.include_state:
            tracks[STATE_KEY] = reader.state("state_t", "state", 0)
        later = reader.images("image_tk", None, self.k, like=tracks)
        if self.include_state:
            later[STATE_KEY] = reader.state("state_tk", None, self.k, like=tracks[STATE_KEY])
        parts = [tracks, later]
        actions = [reader.actions("action", self.config.action_indices)]
        if self.include_past:
            before = reader.images("image_tmk", None, -self.k, like=tracks)
            if self.include_state:
                before[STATE_KEY] = reader.state("state_tmk", None, -self.k, like=tracks[STATE_KEY])
            parts.insert(0, before)
            actions.insert(0, reader.past_actions(self.k))
        if self.include_later_actions:
            actions.append(reader.actions("action_tk", [self.k + step for step in self.config.action_indices]))
        joined = {key: _joined([part[key] for part in parts]) for key in tracks} | {ACTION_KEY: _joined(actions)}
        past, now, future = split_tracks(joined)
        tasks = tuple(
            Task(given(rows, row, "lang"), embodiment, rows[row].get("dataset", "")) for row in range(len(rows))
        )
        first = torch.tensor([bool(row.get("first", False)) for row in rows])
        seeds = [row.get("seed") for row in rows]
        seed = row_seeds(None if None in seeds else torch.tensor(seeds, dtype=torch.int64), len(rows))
        return TimelineSample(Context(past, now, tasks, first), future, seed)


def _at(sample: TimelineSample, key: str, offset: int) -> tuple[Tensor, Tensor]:
    """Value (B, *F) and validity (B,) of a stream at one offset, wherever in the sample it lies."""
    context = sample.context
    for tracks in (context.now, sample.future, context.past):
        if key in tracks and offset in tracks[key].offset.tolist():
            return tracks[key].at(offset)
    raise KeyError(f"the sample has no stream {key!r} at offset {offset}; read it with the windows of this view")


def _joined(tracks: Sequence[Track]) -> Track:
    """Tracks of one stream as one with increasing offsets; of an offset that is there twice, the first counts."""
    offsets = np.concatenate([track.offset.numpy() for track in tracks])
    places = [int(np.flatnonzero(offsets == offset)[0]) for offset in np.unique(offsets)]
    value = torch.cat([track.value for track in tracks], dim=1)[:, places]
    valid = torch.cat([track.valid for track in tracks], dim=1)[:, places]
    return Track(value, valid, torch.from_numpy(offsets[places]))
