"""Batches of what a policy has met with so far, while it goes on acting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tempovla.data.sequence_sampler import SequenceSampler
from tempovla.recipe.online.experience import Experience
from tempovla.timeline import TimelineSample

EPOCH = 1000
"""Batches that are called an epoch; a replay that grows has no end."""


@dataclass(frozen=True)
class OnlineSchedule:
    """When a policy acts, and when it learns.

    Attributes:
        seed_steps: number of control steps with random actions before the first update.
        pretrain_updates: number of updates after these, before the policy acts.
        updates_per_step: number of updates for each further control step.
    """

    seed_steps: int
    pretrain_updates: int
    updates_per_step: float

    def steps_before(self, update: int) -> int:
        """Return how many control steps are taken before an update, which is counted from 0."""
        further = max(0, update + 1 - self.pretrain_updates)
        return self.seed_steps + int(further / self.updates_per_step)


class OnlineStream:
    """A `BatchStream` that lets a policy act before it draws a batch.

    Args:
        experience: where the policy acts.
        sampler: draws from the episodes that there are.
        schedule: when to act.
        episode_steps: most control steps of an episode, for messages; None where this is not known.
        fixed: settings below `online`, as plain JSON values, that must be the same when the run goes on.
    """

    def __init__(
        self,
        experience: Experience,
        sampler: SequenceSampler,
        schedule: OnlineSchedule,
        episode_steps: int | None = None,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self._experience, self._sampler, self._schedule = experience, sampler, schedule
        self._episode_steps, self._fixed = episode_steps, dict(fixed or {})
        self._taken = 0
        self.batches_per_epoch = EPOCH
        self.samples_per_epoch = EPOCH * sampler.batch_size

    def __iter__(self) -> Iterator[TimelineSample]:
        if self._taken == 0:
            self._experience.begin_anew()
        while True:
            wanted = self._schedule.steps_before(self._taken)
            while self._experience.steps < wanted:
                self._experience.step(at_random=self._experience.steps < self._schedule.seed_steps)
            if self._taken == 0:
                self._require_an_episode()
            sample = self._sampler.draw(self._taken)
            self._taken += 1
            yield sample

    def _require_an_episode(self) -> None:
        """Refuse to learn before an episode is over.

        Raises:
            ValueError: naming `online.seed_steps` and how many steps are needed.
        """
        if len(self._sampler.source):
            return
        known = self._episode_steps
        enough = f"at least {known}, the control steps of an episode" if known else "at least the steps of an episode"
        raise ValueError(
            f"online.seed_steps={self._schedule.seed_steps} is too small: no episode of {self._experience.env.task} is "
            f"over after {self._experience.steps} control steps, and only finished episodes are learned from; set it "
            f"to {enough}"
        )

    def take_figures(self) -> dict[str, float]:
        """Return the control steps so far, and means over the episodes that ended since figures were last taken."""
        return self._experience.take_figures()

    def state_dict(self) -> dict[str, Any]:
        """Return the position as plain JSON values."""
        return {"taken": self._taken, "fixed": self._fixed, "experience": self._experience.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a saved position.

        Raises:
            ValueError: if the environment, its episodes or the settings are not those that were saved.
        """
        for name, value in state.get("fixed", {}).items():  # runs of earlier versions saved fewer, or none
            if self._fixed.get(name, value) != value:
                raise ValueError(
                    f"online.{name}={self._fixed[name]} was {value} when the checkpoint was saved; go on with that, or "
                    "start a new run"
                )
        self._experience.load_state_dict(state["experience"])
        self._taken = state["taken"]
