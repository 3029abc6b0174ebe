"""The step of a dataset, or of the replay of a run, whose observation is a goal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tempovla.data.errors import unknown_stream
from tempovla.data.loader import read_windows
from tempovla.data.open import open_source
from tempovla.data.replay import ReplaySource
from tempovla.data.replay_files import DESCRIPTION
from tempovla.data.stream_keys import StreamKeys
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.recipe.datasets.same_body import check_same_body, remedied_by_another_dataset
from tempovla.timeline import Bundle, Context, EpisodeSource, Window
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY
from tempovla.transform.pipeline import TransformPipeline

FORM = "DATASET[:EPISODE[:STEP]]"
REPLAY = "replay"
"""Folder of a run that holds the episodes of its training."""
STEPS_AT_ONCE = 64
_PLACE = re.compile(r"(?P<folder>.+?)(?::(?P<episode>\d+))?(?::(?P<step>\d+))?")


@dataclass(frozen=True)
class GoalStep:
    """A step of a dataset that shows what a policy reads.

    Attributes:
        folder: of the dataset.
        source: the dataset.
        episode: number of the episode.
        step: number of the control step in it.
    """

    folder: Path
    source: EpisodeSource
    episode: int
    step: int

    def __str__(self) -> str:
        return f"step {self.step} of episode {self.episode} of {self.folder}"

    def contexts(self, policy: WorldModelPolicy) -> Iterator[Context]:
        """Yield what is seen there, as raw observations; for a policy that remembers, what it sees on the way there.

        Each context has as many rows as there are steps in it, one decision after the other.
        """
        stride, keys = policy.config.action_repeat, policy.observation_keys()
        windows = [Window(key, (0,)) for key in keys]
        if policy.agent.remembers:
            windows.append(Window(ACTION_KEY, (-1,)))
        first = self.step % stride if policy.agent.remembers else self.step
        steps = np.arange(first, self.step + 1, stride)
        for start in range(0, len(steps), STEPS_AT_ONCE):
            part = steps[start : start + STEPS_AT_ONCE]
            context, _ = read_windows(self.source, windows, np.full(len(part), self.episode), part)
            yield replace(context, first=torch.from_numpy(part == first))


def find_step(place: str, policy: WorldModelPolicy, bundle: Bundle) -> GoalStep:
    """Return the step that `DATASET[:EPISODE[:STEP]]` names; see `GoalOptions`.

    Args:
        place: where the step is.
        policy: that shall plan towards it.
        bundle: of the policy.

    Raises:
        ValueError: if there is no such dataset, episode or step, it does not say which one is meant, or it is of
            another body, or lacks what the policy reads.
    """
    where = bundle.origin or "the policy"
    folder, episode, step = _parsed(place)
    with remedied_by_another_dataset(where):
        source = _opened(folder, bundle)
    _check_shows(source, policy, bundle, where)
    if episode is None:
        return GoalStep(folder, source, *_best(source))
    if episode >= len(source):
        raise ValueError(
            f"goal {place}: {folder} has {with_noun(len(source), 'episode')}, counted from 0; give one of them"
        )
    length = source.episode(episode).length
    if step is not None and step >= length:
        raise ValueError(
            f"goal {place}: episode {episode} has {with_noun(length, 'step')}, counted from 0; give one of them"
        )
    return GoalStep(folder, source, episode, length - 1 if step is None else step)


def prepared(step: GoalStep, policy: WorldModelPolicy, transform: TransformPipeline) -> tuple[list[Context], str]:
    """Return what a policy sees at a step as in training, one row for each decision, and a hash of what was recorded.

    Args:
        step: of a dataset.
        policy: that reads it.
        transform: of the policy.

    Raises:
        ValueError: if a stream has no value there, or one that is not finite.
    """
    digest, rows = hashlib.sha256(), []
    for raw in step.contexts(policy):
        for tracks in (raw.past, raw.now):
            for key in sorted(tracks):
                for part in (tracks[key].value, tracks[key].valid):
                    digest.update(part.numpy().tobytes())
        context = transform.joined.forward_context(raw.to(policy.device))
        rows += [context.rows([row]) for row in range(context.batch_size)]
    for key in policy.observation_keys():
        value, valid = rows[-1].now[key].at(0)
        if not bool(valid.all()):
            raise ValueError(f"{step}: has no valid {key!r}, which the policy reads; choose another step")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{step}: {key!r} is not finite, though the policy reads it; choose another step")
    return rows, digest.hexdigest()


def _parsed(place: str) -> tuple[Path, int | None, int | None]:
    """The folder, the episode and the step; a folder whose own name ends in a colon and a number is one."""
    if Path(place).exists():
        return Path(place), None, None
    parts = _PLACE.fullmatch(place)
    assert parts is not None, "a place is not empty"
    numbers = [None if parts[name] is None else int(parts[name]) for name in ("episode", "step")]
    return Path(parts["folder"]), *numbers  # type: ignore[return-value]


def _opened(folder: Path, bundle: Bundle) -> EpisodeSource:
    """The dataset or the replay in a folder."""
    if not folder.exists():
        raise ValueError(f"goal {folder}: no such folder; give {FORM}, such as outputs/run/{REPLAY}:3:40")
    if (folder / DESCRIPTION).exists():
        replay = ReplaySource.open(folder, max_bytes=0, read_only=True)
        if len(replay) == 0:
            raise ValueError(f"goal {folder}: holds no episode yet; let its run finish one, or give another dataset")
        return replay
    if (folder / REPLAY / DESCRIPTION).exists():
        raise ValueError(f"goal {folder}: the folder of a run, not a dataset; give its episodes, {folder / REPLAY}")
    data = bundle.provenance.get("recipe", {}).get("data", {})
    return open_source(folder, keys=StreamKeys.parse(data.get("state_key"), data.get("action_key"), "data."))


def _check_shows(source: EpisodeSource, policy: WorldModelPolicy, bundle: Bundle, where: str) -> None:
    """Refuse a dataset of another body, and one without what the policy reads."""
    config = policy.config
    sizes = {ACTION_KEY: config.action_dim, config.state_key: config.robot_state_dim}
    needed = [*policy.observation_keys(), *([ACTION_KEY] if policy.agent.remembers else [])]
    for key in needed:
        if key not in source.streams:
            raise ValueError(f"goal: {where} reads {key!r}, but {unknown_stream(key, source.streams, source.name)}")
    for key, size in sizes.items():
        stream = source.streams.get(key)
        if stream is not None and size is not None and stream.shape != (size,):
            raise ValueError(
                f"goal: {source.name} is of another body, whose {key!r} has shape {list(stream.shape)}, but that of "
                f"{where} has {[size]}; give a dataset of the same body"
            )
    check_same_body(where, bundle.embodiment, source, reads_state=config.robot_state_dim is not None)


def _best(source: EpisodeSource) -> tuple[int, int]:
    """The episode and the step to which the highest reward led; without rewards the end of episode 0.

    What the last action of an episode led to was not recorded.
    """
    if REWARD_KEY not in source.streams:
        return 0, source.episode(0).length - 1
    best: tuple[float, int, int] | None = None
    rewards: set[float] = set()
    for episode in range(len(source)):
        value, valid = source.read(episode, REWARD_KEY, range(source.episode(episode).length - 1))
        told = value.reshape(len(value))
        known = np.flatnonzero(valid & np.isfinite(told))
        if not len(known):
            continue
        step = int(known[told[known].argmax()])
        rewards |= {float(told[step]), float(told[known].min())}
        if best is None or told[step] > best[0]:
            best = float(told[step]), episode, step + 1
    if best is None or len(rewards) == 1:
        told_all = "no reward" if best is None else f"the reward {best[0]:g} alone"
        raise ValueError(
            f"goal {source.name}: has {told_all}, which tells no step from another; name an episode, such as "
            f"{source.name}:0"
        )
    return best[1], best[2]
