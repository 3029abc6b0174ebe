"""Tiny policies with a world model of the toy line, and recordings of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tempovla.data.replay import ReplaySource
from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.timeline import Bundle, Embodiment, StreamInfo
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY
from tempovla.transform.normalize import Normalize
from tempovla.transform.pipeline import TransformPipeline

BODY = Embodiment("hand", 1, 2, 10.0, ("place [m]",), ("way", "grip"))
SCALE = 0.5
"""By which the policies' transform divides places."""


def policy_of(algorithm: str = "tdmpc", inverse: float = 0.0, **fields: Any) -> WorldModelPolicy:
    """A policy with weights that nothing has learned, but all of which matter."""
    dynamics = LatentDynamicsConfig(latent_dim=8, group_dim=4, encoder_dim=8, hidden_dim=8, num_values=2, bins=11)
    learning = TDMPCConfig(horizon=2, dynamics=dynamics, inverse_dynamics_weight=inverse, inverse_dynamics_steps=(1, 4))
    sizes = {"state_dim": 8, "hidden_dim": 12, "variables": 4, "classes": 5, "num_layers": 1, "bins": 11, "channels": 1}
    rssm = RSSMConfig(latent="gaussian", symlog_range=2.0, **sizes)
    dreamer = DreamerConfig(rssm=rssm, hidden_dim=10, num_layers=1)
    planner = PlannerConfig(kind="cem", horizon=3, num_samples=24, num_elites=4, iterations=2, num_policy_samples=0)
    seen = {"robot_state_dim": 1, "action_dim": 2, "discount": 0.9, "planner": planner, **fields}
    torch.manual_seed(0)
    policy = WorldModelPolicy(WorldModelConfig(algorithm=algorithm, tdmpc=learning, dreamer=dreamer, **seen)).eval()
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return policy


def bundle_of(policy: WorldModelPolicy) -> Bundle:
    """The policy behind a transform that scales places."""
    scaling = Normalize({STATE_KEY: torch.zeros(1)}, {STATE_KEY: torch.full((1,), SCALE)})
    transform = TransformPipeline([scaling]).to_json()
    return Bundle("world-model", config_to_json(policy.config), policy.windows(), BODY, transform, policy.state_dict())


def frames(places: list[float], rewards: list[float]) -> dict[str, np.ndarray]:
    """An episode that is seen at these places, with rewards after each action."""
    count = len(places)
    actions = np.stack([np.linspace(-1, 1, count), np.zeros(count)], axis=1)
    return {
        STATE_KEY: np.array(places, np.float32)[:, None],
        ACTION_KEY: actions.astype(np.float32),
        REWARD_KEY: np.array(rewards, np.float32)[:, None],
    }


def replay_of(folder: Path, *episodes: dict[str, np.ndarray], body: Embodiment = BODY) -> Path:
    """A replay of these episodes."""
    streams = {
        STATE_KEY: StreamInfo("state", (body.state_dim,), "float32", body.rate_hz),
        ACTION_KEY: StreamInfo("action", (body.action_dim,), "float32", body.rate_hz),
        REWARD_KEY: StreamInfo("scalar", (1,), "float32", body.rate_hz),
    }
    streams = {key: stream for key, stream in streams.items() if not episodes or key in episodes[0]}
    with ReplaySource.create(folder, streams, body.rate_hz, body, {"simulator": "line"}) as replay:
        for episode in episodes:
            replay.append(episode, "go left")
    return folder
