"""A policy that acts in a simulator while it learns, and keeps what happens as episodes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.env.protocol import Observation, SimulatorEnv, checked_reward, world_ended
from tempovla.env.seeding import episode_seed
from tempovla.model.layers.row_state import map_tensors
from tempovla.storage.json_files import to_json_text
from tempovla.storage.problems import NotWrittenError
from tempovla.storage.whole import write_text
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY
from tempovla.timeline.outcomes import outcomes
from tempovla.timeline.source import EpisodeInfo, Reading

LOGGER = logging.getLogger(__name__)

Frames = dict[str, NDArray[Any]]


class Episodes(Protocol):
    """Where episodes are kept: a replay."""

    def __len__(self) -> int:
        """Number of episodes."""

    def append(self, frames: Mapping[str, NDArray[Any]], instruction: str) -> int:
        """Keep an episode, as arrays (T, ...) by stream; return its number."""

    def truncate(self, count: int) -> None:
        """Keep the first `count` episodes alone."""

    def episode(self, index: int) -> EpisodeInfo:
        """Return facts about one episode."""

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Return values of a stream at some steps of an episode."""


@dataclass
class _Running:
    """The episode that is being played.

    Attributes:
        observation: of now.
        state: of the policy.
        seen: observations before each action.
        actions: as they were done.
        rewards: of each action.
        ended: whether the world ended with the last action.
        solved: whether the task was solved after each action.
        has_random: whether any of its actions was drawn at random.
    """

    observation: Observation
    state: Any
    seen: list[Observation] = field(default_factory=list)
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    solved: list[bool] = field(default_factory=list)
    ended: bool = False
    has_random: bool = False

    def frames(self) -> Frames:
        """The episode as arrays (T, ...) by stream."""
        frames = {key: np.stack([each[key] for each in self.seen]) for key in self.seen[0]}
        frames[ACTION_KEY] = np.stack(self.actions)
        return frames | outcomes(self.rewards, self.solved, world_ended=self.ended)


class Experience:
    """One environment in which a policy acts, and the episodes that come of it.

    What happens follows from the seed and the policy's weights alone. A position can be saved in the middle of an
    episode: the environment is then brought there again by its seed and the actions that were done.

    Args:
        env: the environment.
        actor: the policy behind its transforms.
        episodes: where finished episodes are kept.
        seed: of the run.
        log: file to which a line is added for each episode; None keeps no such file.
        greedy_every: the policy acts as in control, without exploring, in each of so many episodes; 0 for none.
    """

    def __init__(
        self,
        env: SimulatorEnv,
        actor: Controller,
        episodes: Episodes,
        seed: int,
        log: Path | None = None,
        greedy_every: int = 0,
    ) -> None:
        self.env, self.actor, self.episodes, self.seed, self.log = env, actor, episodes, seed, log
        self.greedy_every = greedy_every
        self.steps = 0
        self._declared = env.config.spaces()[0].spaces
        self._running: _Running | None = None
        self._untold: list[tuple[float, bool]] = []
        self._builder = ContextBuilder(actor.windows, actor.embodiment, 1)

    def begin_anew(self) -> None:
        """Drop the episodes, and the lines about them, of an earlier attempt that saved no checkpoint."""
        self.episodes.truncate(0)
        if self.log is not None:
            self.log.unlink(missing_ok=True)

    def step(self, *, at_random: bool) -> None:
        """Do one action, for as many control steps as it is for: the policy's, or one that is drawn evenly from all."""
        running = self._running or self._begin()
        if at_random:
            running.has_random = True
            drawn = np.random.default_rng([self.seed, len(self.episodes), len(running.actions)])
            action = drawn.uniform(-1.0, 1.0, self.actor.embodiment.action_dim).astype(np.float32)
            actions = np.repeat(action[None], self.actor.frame_stride or 1, axis=0)
        else:
            chunk, running.state = self.actor.act(self._builder.context(), running.state, explores=self.explores)
            actions = chunk.value[0].float().cpu().numpy()
        for action in actions:
            self.steps += 1
            self._advance(running, action)
            if self._running is None:
                break

    @property
    def explores(self) -> bool:
        """Whether the policy explores in the present episode."""
        return not self.greedy_every or (len(self.episodes) + 1) % self.greedy_every != 0

    def _begin(self) -> _Running:
        """Start the next episode."""
        seed = episode_seed("collect", self.seed, self.env.task, len(self.episodes))
        observation, _ = self.env.reset(seed=seed)
        self._check(observation, 0)
        self._builder.reset(0, self.env.instruction, observation)
        state = self.actor.with_seeds(self.actor.initial_state(1), [seed])
        self._running = _Running(observation, state)
        return self._running

    def _advance(self, running: _Running, action: NDArray[np.float32]) -> None:
        """Do an action, and keep the episode if it is over.

        Raises:
            ValueError: if the simulator gives something that is not finite, or not of the declared form.
        """
        given, terminated, truncated, info = self.env.advance(action)
        observation = self.env.observe()
        reward = self._reward(given, len(running.actions))
        self._check(observation, len(running.actions) + 1)
        running.seen.append(running.observation)
        running.actions.append(action)
        running.rewards.append(reward)
        running.ended = world_ended(self.env.config, bool(terminated), bool(info["success"]))
        running.solved.append(bool(info["success"]))
        running.observation = observation
        if terminated or truncated:
            self._end(running)
        else:
            self._builder.add(0, action[None], observation)

    def _reward(self, given: Any, step: int) -> float:
        """Return a reward, once it is known that the replay can keep it.

        Raises:
            ValueError: naming the reward, the step and the task.
        """
        try:
            reward = checked_reward(given)
            if abs(reward) > float(np.finfo(np.float32).max):
                raise ValueError(f"{reward}, more than float32 can hold")
        except ValueError as error:
            raise ValueError(
                f"{self.env.task}: the reward of step {step} of episode {len(self.episodes)} is {error}; mend the "
                "environment, or choose another task"
            ) from None
        return reward

    def _check(self, observation: Observation, step: int) -> None:
        """Refuse an observation that is not of the declared form, or holds something that is not finite.

        Raises:
            ValueError: naming the stream, the step and the task.
        """
        place = f"at step {step} of episode {len(self.episodes)}"
        remedy = "mend the environment, or choose another task"
        if odd := sorted(observation.keys() ^ self._declared.keys()):
            raise ValueError(f"{self.env.task}: {odd[0]!r} is observed {place} or declared, but not both; {remedy}")
        for key, space in self._declared.items():
            value, shape = np.asarray(observation[key]), tuple(space.shape or ())
            if (value.shape, value.dtype) != (shape, space.dtype):
                raise ValueError(
                    f"{self.env.task}: {key!r} is {value.dtype} of shape {value.shape} {place}, but {space.dtype} of "
                    f"shape {shape} is declared; {remedy}"
                )
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                found = value[~np.isfinite(value)][0]
                raise ValueError(f"{self.env.task}: {key!r} holds {found} {place}; {remedy}")

    def _end(self, running: _Running) -> None:
        """Keep the episode."""
        explored = self.explores or running.has_random
        self.episodes.append(running.frames(), self.env.instruction)
        self._running = None
        total, solved = sum(running.rewards), any(running.solved)
        self._untold.append((total, solved))
        if self.log is not None:
            line = {
                "episode": len(self.episodes) - 1,
                "steps": self.steps,
                "length": len(running.actions),
                "return": total,
                "success": solved if self.env.config.score == "success" else None,
                "explored": explored,
            }
            try:
                with self.log.open("a", encoding="utf-8") as file:
                    file.write(to_json_text(line) + "\n")
            except OSError as problem:
                raise NotWrittenError(self.log, problem) from problem

    def take_figures(self) -> dict[str, float]:
        """Return the control steps so far, and means over the episodes that ended since figures were last taken."""
        figures = {"control_steps": float(self.steps)}
        if self._untold:
            returns, solved = zip(*self._untold, strict=True)
            figures |= {"episode_return": float(np.mean(returns)), "episode_success": float(np.mean(solved))}
            self._untold = []
        return figures

    def state_dict(self) -> dict[str, Any]:
        """Return the position as plain JSON values."""
        running = self._running
        count = len(self.episodes)
        record: dict[str, Any] = {"steps": self.steps, "episodes": count, "last": self._mark(count), "running": None}
        record["untold"] = [list(each) for each in self._untold]
        if running is not None:
            record["running"] = {
                "actions": [action.tolist() for action in running.actions],
                "state": numbers_of(running.state),
                "has_random": running.has_random,
            }
        return record

    def load_state_dict(self, record: Mapping[str, Any]) -> None:
        """Go to a saved position; episodes that were kept after it are dropped.

        Raises:
            ValueError: if there are fewer episodes than there were, or the environment does not repeat the episode.
        """
        count = record["episodes"]
        if len(self.episodes) < count:
            earlier = ", or go on from a checkpoint that was saved before" if len(self.episodes) else ""
            raise ValueError(
                f"the checkpoint was saved after {with_noun(count, 'episode')}, but the replay has {len(self.episodes)}"
                f"; give the run's own folder, with its whole replay{earlier}"
            )
        if record.get("last", self._mark(count)) != self._mark(count):  # runs of earlier versions saved none
            raise ValueError(
                f"episode {count - 1} of the replay is not the one that was last when the checkpoint was saved; give "
                "the run's own folder, with its replay"
            )
        self.episodes.truncate(count)
        self._keep_lines(count)
        self.steps, self._running = record["steps"], None
        self._untold = [(total, solved) for total, solved in record["untold"]]
        if record["running"] is None:
            return
        running = self._begin()
        running.has_random = record["running"]["has_random"]
        for action in record["running"]["actions"]:
            self._advance(running, np.array(action, np.float32))
        if self._running is None:
            raise ValueError(
                f"{self.env.task}: episode {count} ends earlier than when it was saved; the simulator has changed, so "
                "start a new run"
            )
        running.state = with_numbers(running.state, record["running"]["state"])

    def _mark(self, count: int) -> str:
        """Return what tells the last of `count` episodes from others; nothing where there is none."""
        if count == 0:
            return ""
        steps = range(self.episodes.episode(count - 1).length)
        read = (self.episodes.read(count - 1, key, steps).value for key in (ACTION_KEY, REWARD_KEY))
        return hashlib.sha256(b"".join(np.asarray(value, np.float32).tobytes() for value in read)).hexdigest()

    def _keep_lines(self, count: int) -> None:
        """Leave the lines of the first `count` episodes in the log; those that cannot be read are left out."""
        if self.log is None or not self.log.exists():
            return
        kept = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                is_kept = json.loads(line)["episode"] < count
            except (ValueError, LookupError, TypeError):
                LOGGER.warning("%s: left out a line that cannot be read: %.60r", self.log, line)
                continue
            kept += [line] if is_kept else []
        write_text(self.log, "".join(f"{line}\n" for line in kept))


def numbers_of(state: Any) -> list[list[Any]]:
    """Return the tensors of a policy's state, one after the other, as lists of numbers."""
    found: list[list[Any]] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor.flatten().tolist())
        return tensor

    map_tensors(keep, state)
    return found


def with_numbers(state: Any, numbers: list[list[Any]]) -> Any:
    """Return a state with the numbers that `numbers_of` gave for another one of the same shapes."""
    left = iter(numbers)
    return map_tensors(
        lambda tensor: torch.tensor(next(left), dtype=tensor.dtype, device=tensor.device).view(tensor.shape), state
    )
