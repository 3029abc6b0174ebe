"""Settings of a policy that acts by a world model, which learns from rewards."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.world_model.picture_size import PICTURE_PX
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.timeline.keys import STATE_KEY

ALGORITHMS = ("tdmpc", "dreamer")

TOLD_DECISIONS = 15
"""Least number of decisions that a told plan reaches ahead: the few of a search show no way that can be seen."""


@dataclass(frozen=True)
class WorldModelConfig:
    """What the policy sees and does, how it learns, and how it searches for actions.

    Attributes:
        algorithm: how the world model learns; the settings are under its name.
        robot_state_dim: dimensions of the state; None where it is not read.
        state_key: key of the state, such as `observation.environment_state` for what a simulator alone knows.
        action_dim: dimensions of an action in [-1, 1].
        action_repeat: number of control steps for which each action is done; their rewards are one.
        cameras: keys of the pictures that are seen.
        image_size: side of these pictures [px].
        episode_length: most control steps of an episode, from which the discount follows.
        discount: from one action to the next; None takes 1 - 5 / (actions of an episode), but at least 0.95 and at most
            0.995.
        planner: how actions are searched for.
        plans: whether actions are searched for; False takes those of the model's own policy or actor; None is True for
            `tdmpc` and False for `dreamer`, as in the works that they are from.
        tdmpc: settings of TD-MPC2.
        dreamer: settings of Dreamer.
        control_fields: the settings that control alone reads; they can be given anew to a trained policy.
    """

    control_fields: ClassVar[tuple[str, ...]] = ("plans", *(f"planner.{each.name}" for each in fields(PlannerConfig)))

    algorithm: Literal["tdmpc", "dreamer"] = "tdmpc"
    robot_state_dim: int | None = None
    state_key: str = STATE_KEY
    action_dim: int = 7
    action_repeat: int = 1
    cameras: tuple[str, ...] = ()
    image_size: int = PICTURE_PX
    episode_length: int = 500
    discount: float | None = None
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    plans: bool | None = None
    tdmpc: TDMPCConfig = field(default_factory=TDMPCConfig)
    dreamer: DreamerConfig = field(default_factory=DreamerConfig)

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"model.algorithm={self.algorithm!r} is unknown; choose from {', '.join(ALGORITHMS)}")
        for name in ("robot_state_dim", "action_dim", "action_repeat", "episode_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"model.{name}={value} must be at least 1")
        if self.image_size != PICTURE_PX:
            raise ValueError(f"model.image_size={self.image_size}: world models read {PICTURE_PX} px; set it to that")
        if self.planner.policy_weight and self.algorithm != "tdmpc":
            raise ValueError(
                f"model.planner.policy_weight={self.planner.policy_weight} is for tdmpc, and {self.algorithm} does not "
                "read it; leave it out"
            )
        if self.discount is not None and not 0 < self.discount < 1:
            raise ValueError(f"model.discount={self.discount} must lie between 0 and 1")

    def check_sees(self) -> None:
        """Refuse a policy that sees nothing.

        Raises:
            ValueError: with the remedy.
        """
        if self.robot_state_dim is None and not self.cameras:
            raise ValueError(
                "model.robot_state_dim and model.cameras are both missing; give what the policy sees, or let "
                "online.env say it"
            )

    @property
    def has_gripper(self) -> bool:
        """Whether the last dimension of an action is binary; here all of them are continuous."""
        return False

    @property
    def predicts_end(self) -> bool:
        """Whether the model learns that an episode terminates."""
        return self.tdmpc.dynamics.predicts_end if self.algorithm == "tdmpc" else self.dreamer.rssm.predicts_end

    @property
    def searches(self) -> bool:
        """Whether actions are searched for."""
        return self.algorithm == "tdmpc" if self.plans is None else self.plans

    @property
    def without_effect(self) -> dict[str, str]:
        """By name, those of `control_fields` that a policy with these settings does not read: why, and the remedy."""
        if self.searches:
            return {f"planner.{name}": f"{reason}, or leave it out" for name, reason in self.planner.unread.items()}
        reason = "the policy does not search for actions; give model.plans=true, too, or leave it out"
        return {name: reason for name in self.control_fields if name.startswith("planner.")}

    @property
    def step_discount(self) -> float:
        """The discount from one action to the next."""
        if self.discount is not None:
            return self.discount
        return min(max(1.0 - 5.0 * self.action_repeat / self.episode_length, 0.95), 0.995)
