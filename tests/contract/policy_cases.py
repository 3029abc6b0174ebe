"""Policies that the laws are run over: tiny, with the same random weights each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from tests import drives, openvla_tiny, smolvla_tiny
from tests.contract.samples import EMBODIMENT
from tests.contract.toys import ACTION, FRONT, STATE
from tests.libraries import fill_library
from tests.tiny import ONE_LAYER, default_statevla_config, tiny_sagr_config, tiny_vla_config

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.context_policy import ContextPolicy, with_context
from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
from tempovla.model.vla.sagr import SAGR
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import JepaConfig
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.timeline import Embodiment, Policy
from tempovla.timeline.driving import (
    BOX_NAMES,
    BOXES_KEY,
    HEAD_NAMES,
    HEADS_KEY,
    LIGHT_KEY,
    LIGHT_NAMES,
    ROAD_KEY,
    ROAD_NAMES,
)
from tempovla.timeline.keys import POSE_KEY, REWARD_KEY, TERMINATED_KEY, TOKENS_KEY, dims_key

WRIST = "observation.images.wrist"


def seeded(build: Callable[[], Any]) -> Any:
    """What `build` makes, with the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


@dataclass(frozen=True)
class PolicyCase:
    """A policy, the shapes of its streams after the transforms, which loss terms predict actions, and its body."""

    build: Callable[[], Policy[Any]]
    shapes: Mapping[str, tuple[int, ...]]
    action_terms: tuple[str, ...] = ()
    body: Embodiment = EMBODIMENT


def in_context(policy: Any) -> Any:
    """The policy in the context of its config, with earlier episodes where it looks some up, for acting."""
    whole = with_context(policy)
    if isinstance(whole, ContextPolicy):
        fill_library(whole.context)
    return whole.eval()


def statevla(phase: int, action_terms: tuple[str, ...], **options: Any) -> PolicyCase:
    """A tiny StateVLA with random weights."""
    jepa = JepaConfig(
        prediction_horizon=2,
        temporal_predictor_hidden_dim=16,
        inverse_dynamics_weight=0.5,
        behavior_cloning_weight=0.5,
    )
    widths = {"embed_dim": 16, "lang_emb_dim": 12, "state_dim": 16, "policy_embed_dim": 16}
    config = default_statevla_config(**widths, flow_steps=2, jepa=jepa, **options)
    shapes = {STATE: (3,), FRONT: (3, 16, 16), WRIST: (3, 16, 16), ACTION: (4,), "language": (12,)}
    return PolicyCase(lambda: seeded(lambda: in_context(StateVLA(config, phase))), shapes, action_terms)


def vla(head: str, action_terms: tuple[str, ...], model: Mapping[str, Any] | None = None, **options: Any) -> PolicyCase:
    """A tiny VLA with random weights, the head's `options`, and `model` for `tiny_vla_config`."""
    shapes = {STATE: (3,), FRONT: (3, 16, 16), WRIST: (3, 16, 16), ACTION: (4,), TOKENS_KEY: (6,)}
    config = tiny_vla_config(head, action_head_options={head: options}, **{"layers": 1} | dict(model or {}))
    return PolicyCase(lambda: seeded(lambda: in_context(VLAModel(config))), shapes, action_terms)


def remembering(**parts: Any) -> dict[str, Any]:
    """Model options of a tiny VLA in a context of these parts, every second step seen, the first frames unlearned."""
    return {"context": ContextConfig(**{"stride": 2, "sequence_length": 3, "burn_in": 1, "bptt_length": 2} | parts)}


CORE = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "dropout": 0.0}
CONTEXTS: dict[str, dict[str, Any]] = {
    **{kind: {"temporal": {"encoder_type": kind, **CORE}} for kind in ("transformer", "lstm", "gru", "mamba")},
    "frames": {"temporal": {"encoder_type": "frames", **CORE, "frame_offsets": (-2, 0)}},
    "history": {"history": {**CORE, "history_length": 3, "num_heads": 4}},
    "working": {"memory": {"kind": "working", "hidden_dim": 8, "memory_slots": 2, "num_heads": 2}},
    "hierarchical": {
        "memory": {"kind": "hierarchical", "hidden_dim": 8, "short_term_slots": 1, "long_term_slots": 2, "num_heads": 2}
    },
    "buffer": {"memory": {"kind": "buffer", "hidden_dim": 8, "memory_size": 3, "key_dim": 4, "num_heads": 2}},
}
CONTEXTS["retrieval"] = {
    "retrieval": {"hidden_dim": 8, "num_heads": 2, "top_k": 2, "match_frames": 2, "max_episodes": 4, "max_frames": 5},
    "freeze_base": True,
}
CONTEXTS["all"] = CONTEXTS["lstm"] | CONTEXTS["history"] | CONTEXTS["working"]


def openvla() -> PolicyCase:
    """A tiny OpenVLA with random weights."""
    shapes = {FRONT: (3, 16, 16), ACTION: (4,), TOKENS_KEY: (6,)}
    return PolicyCase(lambda: openvla_tiny.tiny_policy(action_dim=4), shapes, ("action_loss",))


def smolvla(action_terms: tuple[str, ...] = ("action_loss",), **options: Any) -> PolicyCase:
    """A tiny SmolVLA with random weights."""
    shapes = {STATE: (3,), FRONT: (3, 16, 16), WRIST: (3, 16, 16), ACTION: (4,), TOKENS_KEY: (6,)}
    return PolicyCase(lambda: seeded(lambda: in_context(smolvla_tiny.tiny_policy(**options))), shapes, action_terms)


def bodies(head: str, **options: Any) -> PolicyCase:
    """A tiny VLA for bodies of several sizes, some of them without a wrist camera."""
    case = vla(head, ("action_loss",), {"reads_dims": True, "optional_cameras": (WRIST,)}, **options)
    return replace(case, shapes={**case.shapes, dims_key(STATE): (3,), dims_key(ACTION): (4,)})


def sagr(**options: Any) -> PolicyCase:
    """A tiny SA-GR with random weights, those that begin at zero included."""

    def build() -> SAGR:
        policy = SAGR(tiny_sagr_config(**{"vlm": ONE_LAYER} | options)).eval()
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return policy

    shapes = {STATE: (3,), FRONT: (3, 16, 16), WRIST: (3, 16, 16), ACTION: (4,), TOKENS_KEY: (6,)}
    return PolicyCase(lambda: seeded(build), shapes, ("action_loss",))


def world_model(algorithm: str, **options: Any) -> PolicyCase:
    """A tiny policy that acts by a world model, with random weights, those that begin at zero included."""
    sizes = {"hidden_dim": 8, "num_values": 3, "dropout": 0.0, "bins": 9, "normalize_state": True}
    dynamics = LatentDynamicsConfig(8, 4, 8, **sizes, predicts_end=True)
    planner = PlannerConfig(horizon=2, num_samples=12, num_elites=4, iterations=2, num_policy_samples=4)
    rssm = {"state_dim": 8, "hidden_dim": 8, "variables": 3, "num_layers": 1, "bins": 9, "symlog_range": 3.0}
    fields = {"plans": options.pop("plans", None), "planner": planner, "robot_state_dim": 3, "action_dim": 4}
    config = WorldModelConfig(
        algorithm,
        tdmpc=TDMPCConfig(dynamics=replace(dynamics, symlog_range=3.0)),
        dreamer=DreamerConfig(RSSMConfig(**rssm | {"classes": 4} | options), 4, horizon=3, hidden_dim=8, num_layers=1),
        **fields,
    )

    def build() -> WorldModelPolicy:
        policy = WorldModelPolicy(config).eval()
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return policy

    shapes = {STATE: (3,), ACTION: (4,), REWARD_KEY: (1,), TERMINATED_KEY: (1,)}
    return PolicyCase(lambda: seeded(build), shapes)


def driving(head: str = "mlp", **options: Any) -> PolicyCase:
    """A tiny policy that drives, with random weights."""
    config = drives.tiny_config(action_head=head, **options)
    pictures = dict.fromkeys(drives.CAMERAS, (3, drives.HEIGHT, drives.WIDTH))
    points = {key: (drives.COUNTS[key], len(names)) for key, names in drives.COLUMNS.items()}
    taught = {
        BOXES_KEY: (drives.BOXES, len(BOX_NAMES)),
        ROAD_KEY: (drives.ROAD, len(ROAD_NAMES)),
        LIGHT_KEY: (len(LIGHT_NAMES),),
        HEADS_KEY: (drives.HEADS, len(HEAD_NAMES)),
    }
    shapes = {**pictures, **points, **taught, STATE: (4,), POSE_KEY: (3,), ACTION: (3,), TOKENS_KEY: (6,)}
    windows = MultiSensorVLA(config).training_windows()
    read = {window.key for window in windows} | {TOKENS_KEY}
    return PolicyCase(
        lambda: seeded(lambda: MultiSensorVLA(config).eval()),
        {key: shape for key, shape in shapes.items() if key in read},
        ("action_loss",),
        drives.CAR,
    )
