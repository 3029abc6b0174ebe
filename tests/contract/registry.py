"""Everything that the laws are run over. A new component is one line here.

`test_registry.py` fails when a registered policy or transform is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tests import drives, libero_recordings, nuscenes_scenes, openvla_tiny, recordings, replays, smolvla_tiny
from tests.contract.history_memory import HistoryMemory
from tests.contract.rssm_memory import RSSMMemory
from tests.contract.samples import EMBODIMENT
from tests.contract.toys import ACTION, FRONT, STATE, ToyMemory, ToyPolicy, ToySource
from tests.libraries import fill_library
from tests.tiny import default_statevla_config, tiny_sagr_config, tiny_vla_config
from torch import Tensor

from tempovla.data.lerobot import LeRobotSource, open_dataset
from tempovla.data.libero_hdf5 import LiberoHdf5Source, open_libero
from tempovla.data.memory import MemoryEpisode, MemorySource, preload
from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes
from tempovla.data.replay import ReplaySource
from tempovla.data.selection import select
from tempovla.data.stream_keys import StreamKeys, with_keys
from tempovla.model.fusion.bev_config import LiftConfig
from tempovla.model.layers.mamba import Mamba, MambaConfig
from tempovla.model.layers.ssd import Mamba2Config
from tempovla.model.sensor.config import LatentGeometryConfig
from tempovla.model.temporal import (
    HierarchicalMemory,
    TemporalEncoder,
    TemporalEncoderConfig,
    TemporalState,
    WorkingMemory,
)
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.temporal.history.encoder import HistoryEncoder
from tempovla.model.temporal.memory.buffer import MemoryBuffer, MemoryConfig
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
from tempovla.model.vlm.config import VisionEncoderConfig
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.timeline import Embodiment, EpisodeSource, Policy, Transform, Window
from tempovla.timeline.driving import (
    BOX_NAMES,
    BOXES_KEY,
    CAMERA_KEYS,
    IMU_KEY,
    LIDAR_KEY,
    LIGHT_KEY,
    LIGHT_NAMES,
    RADAR_KEY,
    ROAD_KEY,
    ROAD_NAMES,
)
from tempovla.timeline.keys import DONE_KEY, POSE_KEY, REWARD_KEY, TERMINATED_KEY, TOKENS_KEY, dims_key
from tempovla.timeline.parts import StreamPart
from tempovla.transform.align import AlignStreams, MissingStream, Padding
from tempovla.transform.blind import BlankImages
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.gripper import RemapGripper
from tempovla.transform.image import CropImages, ResizeImages
from tempovla.transform.join import JoinStreams
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import DatasetView, PerDataset, TransformPipeline
from tempovla.transform.points import CropPoints, LimitPoints, ScalePoints
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer
from tempovla.transform.waypoints import Waypoints

WRIST = "observation.images.wrist"
DEPTH = "observation.depth.front"
CLOUD = "observation.points.lidar"


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
        policy = SAGR(tiny_sagr_config(**options)).eval()
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


FLOW = ("pos_rot_loss", "gripper_loss")
DEMO = {"encoder_type": "transformer", "policy_type": "transformer", "readout": "all_tokens", "image_tokenizer": "conv"}

METAWORLD = {"readout": "all_tokens", "token_dim": 4, "feature_dim": 8, "cloning_weight": 1.0}

POLICIES: dict[str, PolicyCase] = {
    "openvla": openvla(),
    "driving": driving(),
    "driving-depth": driving(sensors=("cameras",), depth_weight=0.5),
    "driving-blind": driving(sensors=(), reads_state=False),
    "driving-language": driving(language=drives.LANGUAGE),
    "driving-modes": driving(num_modes=3, smooth_plan=True),
    "driving-sample": driving(
        "flow_matching",
        sensors=("cameras", "lidar"),
        lift=LiftConfig(kind="sample"),
        action_head_options={"flow_matching": {"num_steps": 2, "hidden_dim": 8, "num_layers": 1, "num_heads": 2}},
    ),
    "driving-cross-modal": driving(fusion="cross_modal"),
    "driving-hierarchical": driving(fusion="hierarchical"),
    "driving-lstm": driving(temporal=drives.tiny_temporal()),
    "driving-language-lstm": driving(sensors=("cameras",), language=drives.LANGUAGE, temporal=drives.tiny_temporal()),
    "driving-cross-modal-lstm": driving(fusion="cross_modal", temporal=drives.tiny_temporal()),
    "driving-taught": driving(occupancy_weight=0.5, road_weight=0.5, light_weight=0.2, brake_threshold=0.5),
    "driving-taught-lstm": driving(
        sensors=("cameras",),
        temporal=drives.tiny_temporal(),
        occupancy_weight=0.5,
        road_weight=0.5,
        light_weight=0.2,
    ),
    "toy": PolicyCase(ToyPolicy, ToyPolicy.shapes, ToyPolicy.action_terms),
    "smolvla": smolvla(),
    "smolvla-frozen": smolvla(train_expert_only=True, robot_state_dim=None, has_gripper=False, num_expert_layers=1),
    "smolvla-metaworld": smolvla(
        ("action_loss", "behavior_cloning"),
        vlm={"image_tokenizer": "conv", "resize": "stretch", "architecture": smolvla_tiny.architecture()},
        cloning_weight=1.0,
        draws=2,
    ),
    "smolvla-all": smolvla(train_expert_only=True, **remembering(**CONTEXTS["all"])),
    "sagr": sagr(cloning_weight=1.0, readout_token=True),
    "sagr-flow": sagr(loss_w_dyn=0.0, loss_w_geo=0.0, use_drift=False),
    "sagr-feedback": sagr(
        enable_causal_feedback_token=True,
        causal_feedback_aux_weight=0.5,
        causal_feedback_aux_dir_weight=0.5,
        horizons=(1, 4),
        world_target_encoder="ema",
        flare_weight=0.2,
    ),
    "sagr-inverse": sagr(
        inverse_weight=1.0, cloning_weight=1.0, readout_token=True, loss_w_dyn=0.0, loss_w_geo=0.0, use_drift=False
    ),
    "sagr-replan": sagr(replan=True, robot_state_dim=None, has_gripper=False, algorithm_version="v4"),
    "sagr-geometry": sagr(
        geometry=LatentGeometryConfig(vision=VisionEncoderConfig("conv", image_size=16, patch_size=8, output_dim=8)),
        geometry_heads=2,
        world_target_encoder="ema",
    ),
    "sagr-tokens": sagr(world_target="vision", world_target_encoder="ema", world_condition="tokens", use_drift=False),
    "sagr-vision": sagr(
        world_target="vision",
        world_target_encoder="frozen",
        world_detach_input=False,
        world_action_source="noisy",
        world_target_loss="cosine",
    ),
    "sagr-state": sagr(world_target="state"),
    "sagr-z": sagr(world_target="z", world_detach_input=False, enable_causal_feedback_token=True, replan=True),
    "statevla-representation": statevla(1, ("behavior_cloning",)),
    "statevla-representation-demo": statevla(1, ("behavior_cloning",), **DEMO),
    "statevla-policy": statevla(2, FLOW),
    "statevla-policy-demo": statevla(2, FLOW, freeze_encoder=False, flow_draws=3, **DEMO),
    "vla-mlp": vla("mlp", ("action_loss",)),
    "vla-gaussian": vla("gaussian", ("action_loss",), num_modes=2, min_log_std=-5.0),
    "vla-diffusion": vla("diffusion", ("action_loss",), diffusion_steps=4, num_steps=2, hidden_dim=8, num_layers=2),
    "vla-flow-matching": vla("flow_matching", ("action_loss",), num_steps=2, hidden_dim=8, num_layers=1, num_heads=2),
    "vla-transformer": vla("transformer", ("action_loss",), hidden_dim=8, num_layers=1, num_heads=2, num_modes=2),
    "vla-metaworld": vla("flow_matching", ("action_loss", "behavior_cloning"), METAWORLD, num_steps=2, draws=2),
    **{f"vla-mlp-{name}": vla("mlp", ("action_loss",), remembering(**parts)) for name, parts in CONTEXTS.items()},
    "vla-flow-matching-all": vla(
        "flow_matching",
        ("action_loss", "behavior_cloning"),
        {**METAWORLD, **remembering(**CONTEXTS["all"]), "lambda_temporal": 0.1},
        num_steps=2,
    ),
    "statevla-policy-all": statevla(2, FLOW, **remembering(**CONTEXTS["all"])),
    "statevla-policy-retrieval": statevla(2, FLOW, **remembering(**CONTEXTS["retrieval"])),
    "statevla-policy-demo-working": statevla(
        2, FLOW, freeze_encoder=False, **DEMO, **remembering(**CONTEXTS["working"], burn_in=0)
    ),
    "vla-patches": vla("mlp", ("action_loss",), {"vision": "patch"}),
    "vla-attention-pooling": vla("mlp", ("action_loss",), {"projector": "attention_pooling"}),
    "vla-perceiver": vla("mlp", ("action_loss",), {"projector": "perceiver"}),
    "vla-bodies": bodies("mlp"),
    "vla-bodies-flow-matching": bodies("flow_matching", num_steps=2, hidden_dim=8, num_layers=1, num_heads=2),
    "world-model-tdmpc": world_model("tdmpc"),
    "world-model-dreamer": world_model("dreamer", blocks=2),
    "world-model-dreamer-gaussian": world_model("dreamer", latent="gaussian", reward_loss="mse"),
    "world-model-dreamer-plans": world_model("dreamer", plans=True),
    "vla-no-state": vla("mlp", ("action_loss",), {"robot_state_dim": None, "readout": "last", "has_gripper": False}),
}


def random_sequence(features: int) -> Tensor:
    """(4, 11, features)."""
    return torch.randn(4, 11, features, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class MemoryCase:
    """A sequence model and the number of features that it takes."""

    build: Callable[[], Any]
    features: int


def history(**options: Any) -> MemoryCase:
    """A tiny history encoder of 5 steps."""
    sizes = {"obs_dim": 5, "action_dim": 3, "context_dim": 8, "num_heads": 2, "history_length": 5}
    return MemoryCase(lambda: seeded(lambda: HistoryMemory(HistoryEncoder(**sizes, **options).eval())), 8)


class EncoderMemory:
    """A temporal encoder in the form that the laws take; hidden states and aggregates side by side."""

    def __init__(self, encoder: TemporalEncoder) -> None:
        self.encoder = encoder

    def initial_state(self, batch: int) -> TemporalState:
        return self.encoder.initial_state(batch)

    def forward(self, x: Tensor, state: TemporalState) -> tuple[Tensor, TemporalState]:
        output, state = self.encoder.run(x, state)
        return torch.cat([output.hidden, output.aggregated], dim=-1), state

    def step(self, x: Tensor, state: TemporalState) -> tuple[Tensor, TemporalState]:
        output, state = self.encoder.step(x, state)
        return torch.cat([output.hidden, output.aggregated], dim=-1), state


def temporal(encoder_type: str, **options: Any) -> MemoryCase:
    """A tiny temporal encoder with random weights, every parameter included."""

    def build() -> EncoderMemory:
        sizes = {"input_dim": 6, "hidden_dim": 8, "output_dim": 5, "num_layers": 2, "num_heads": 2, "max_seq_len": 16}
        encoder = TemporalEncoder(TemporalEncoderConfig(encoder_type=encoder_type, **sizes | options)).eval()
        with torch.no_grad():  # so that no parameter hides behind a zero
            for parameter in encoder.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return EncoderMemory(encoder)

    return MemoryCase(lambda: seeded(build), 6)


MEMORIES: dict[str, MemoryCase] = {
    "toy": MemoryCase(ToyMemory, 5),
    # Each memory with fewer slots than the sequence has steps.
    "memory-buffer": MemoryCase(lambda: seeded(lambda: MemoryBuffer(MemoryConfig(8, 6, 4, 8, 2, 2)).eval()), 8),
    "working-memory": MemoryCase(lambda: seeded(lambda: WorkingMemory(8, 4, 2).eval()), 8),
    "hierarchical-memory": MemoryCase(lambda: seeded(lambda: HierarchicalMemory(8, 2, 3, 2).eval()), 8),
    "history": history(),
    "history-plain": history(use_action_embedding=False, use_timestep_embedding=False, num_layers=1),
    "mamba": MemoryCase(lambda: seeded(lambda: Mamba(MambaConfig(d_model=8, depth=2, d_state=4)).eval()), 8),
    "mamba2": MemoryCase(
        lambda: seeded(lambda: Mamba(Mamba2Config(d_model=8, depth=2, d_state=4, head_dim=8)).eval()), 8
    ),
    "temporal-transformer": temporal("transformer"),
    "temporal-transformer-window": temporal("transformer", window=3),
    "temporal-transformer-window-of-one": temporal("transformer", window=1),
    "temporal-transformer-rotary": temporal("transformer", window=4, use_learned_pos_embed=False),
    "temporal-transformer-no-positions": temporal("transformer", window=4, use_positional_encoding=False),
    "temporal-transformer-chunked": temporal("transformer", max_seq_len=4, chunk_long_sequences=True),
    "temporal-lstm": temporal("lstm"),
    "temporal-lstm-chunked": temporal("lstm", max_seq_len=4, chunk_long_sequences=True),
    "temporal-gru": temporal("gru"),
    "temporal-mamba": temporal("mamba"),
    "temporal-frames": temporal("frames", frame_offsets=(-4, -1, 0)),
    "rssm-categorical": MemoryCase(lambda: seeded(lambda: RSSMMemory("categorical")), 6),
    "rssm-gaussian": MemoryCase(lambda: seeded(lambda: RSSMMemory("gaussian")), 6),
}


@dataclass(frozen=True)
class SourceCase:
    """A source and windows on its streams; `build` takes an empty folder to write in."""

    build: Callable[[Path], EpisodeSource]
    windows: tuple[Window, ...]


def recorded(folder: Path) -> LeRobotSource:
    """A small dataset of 12, 7 and 9 steps."""
    recordings.record(folder)
    return open_dataset(folder)


def in_memory(folder: Path) -> MemorySource:
    """The arrays of `ToySource`, clocks included."""
    toy = ToySource()
    episodes = [
        MemoryEpisode(
            toy.instructions(episode),
            toy.episode(episode).length,
            {key: toy.values(episode, key) for key in toy.streams},
            {FRONT: toy.timestamps(episode, FRONT)},
        )
        for episode in range(len(toy))
    ]
    return MemorySource("memory", toy.embodiment, toy.streams, episodes)


def demonstrated(folder: Path) -> LiberoHdf5Source:
    """Demonstrations of two tasks in LIBERO's files."""
    libero_recordings.record(folder)
    return open_libero(folder)


def replayed(folder: Path, max_bytes: int = 1 << 20) -> ReplaySource:
    """A replay of 12, 1 and 9 steps."""
    limits = {"max_bytes": max_bytes, "capacity": 20}
    with ReplaySource.create(folder, replays.PICTURES, 10.0, replays.BODY, replays.FACTS, **limits) as replay:
        for episode, length in enumerate((12, 1, 9)):
            words = [f"do {episode} at {step}" for step in range(length)]
            replay.append(replays.frames(episode, length, pictures=True), words)
    return replay


def driven(folder: Path) -> NuScenesSource:
    """Scenes of 7 and 1 key frames, whose sensors have clocks of their own."""
    return open_nuscenes(nuscenes_scenes.write(folder, (7, 1)))


DRIVING_WINDOWS = (
    Window(STATE, (-2, -1, 0)),
    Window(ACTION, (-1, 0, 1, 2, 3, 4, 5)),
    *(Window(key, (-2, 0, 1)) for key in (CAMERA_KEYS[0], LIDAR_KEY, RADAR_KEY, IMU_KEY)),
)
WINDOWS = (Window(STATE, (-2, -1, 0)), Window(ACTION, tuple(range(-2, 16))), Window(FRONT, (-3, 0, 2)))
REPLAY_WINDOWS = (*WINDOWS, Window(REWARD_KEY, (-1, 0, 3)), Window(DONE_KEY, (0,)))
LIBERO_WINDOWS = (*WINDOWS[:2], Window(libero_recordings.AGENT, (-3, 0, 2)))

SOURCES: dict[str, SourceCase] = {
    "toy": SourceCase(lambda folder: ToySource(), WINDOWS),
    "memory": SourceCase(in_memory, WINDOWS),
    "lerobot": SourceCase(recorded, (*WINDOWS, Window(recordings.WRIST, (-1, 0)))),
    "libero-hdf5": SourceCase(demonstrated, LIBERO_WINDOWS),
    "nuscenes": SourceCase(driven, DRIVING_WINDOWS),
    "nuscenes-preloaded": SourceCase(
        lambda folder: preload(driven(folder), [window.key for window in DRIVING_WINDOWS], 1 << 30), DRIVING_WINDOWS
    ),
    "selection": SourceCase(lambda folder: select(demonstrated(folder), 1, 8), LIBERO_WINDOWS),
    "joined": SourceCase(lambda folder: with_keys(in_memory(folder), StreamKeys.parse(f"{STATE}[1:]", None)), WINDOWS),
    "replay": SourceCase(replayed, REPLAY_WINDOWS),
    "replay-evicted": SourceCase(lambda folder: replayed(folder, 10 * 66), REPLAY_WINDOWS),
    "lerobot-preloaded": SourceCase(lambda folder: preload(recorded(folder), [STATE, ACTION, FRONT], 1 << 30), WINDOWS),
}

STATISTICS = {
    key: {
        "mean": torch.tensor(mean).double().numpy(),
        "std": torch.tensor(std).double().numpy(),
        "min": torch.tensor(mean).double().numpy() - 2.0,
        "max": torch.tensor(mean).double().numpy() + 1.0,
        "q01": torch.tensor(mean).double().numpy() - 1.5,
        "q99": torch.tensor(mean).double().numpy() + 0.5,
    }
    for key, mean, std in ((STATE, [0.5, -3.0, 100.0], [0.1, 2.0, 0.0]), (ACTION, [0.2, -1.0], [0.03, 5.0]))
}


def normalize(mode: str, keep: tuple[int, ...] = ()) -> Normalize:
    """Normalisation of state and action."""
    return Normalize.fit(STATISTICS, {STATE: NormalizationConfig(mode), ACTION: NormalizationConfig(mode, keep)})


def view(mode: str, align: AlignStreams) -> DatasetView:
    """How the rows of one dataset become rows like those of the other."""
    return DatasetView(EMBODIMENT, TransformPipeline([ResizeImages(8), normalize(mode)]), align)


GAP = {WRIST: MissingStream((3, 8, 8), (-1, 0, 1))}
LEFT = AlignStreams({}, GAP, {STATE: Padding.of(3, 5), ACTION: Padding.of(2, 4, gripper=True)})
RIGHT = AlignStreams({}, GAP, {STATE: Padding.of(3, 5), ACTION: Padding.of(2, 4)})

TRANSFORMS: dict[str, Callable[[], Transform]] = {
    "resize-same": lambda: ResizeImages(16),
    "resize-box": lambda: ResizeImages(8),
    "resize-bilinear": lambda: ResizeImages(11),
    "resize-not": lambda: ResizeImages(None),
    "crop": lambda: TransformPipeline([ResizeImages(None), CropImages(0.6)]),
    "resize-depth": lambda: ResizeDepth((DEPTH,), 8),
    "resize-depth-nearest": lambda: ResizeDepth((DEPTH,), 11),
    "resize-depth-not": lambda: ResizeDepth((DEPTH,), None),
    "blank-depth": lambda: ResizeDepth((DEPTH,), 8, blank=True),
    "normalize-mean-std": lambda: normalize("mean_std"),
    "normalize-min-max": lambda: normalize("min_max", keep=(1,)),
    "normalize-quantile": lambda: normalize("quantile"),
    "remap-gripper": lambda: RemapGripper(-1.0, 1.0),
    "remap-gripper-width": lambda: RemapGripper(0.08, 0.0),
    "blank-images": lambda: BlankImages((FRONT,), 8),
    "crop-points": lambda: CropPoints(CLOUD, (-1.0, -1.0), (1.0, 0.5)),
    "limit-points": lambda: LimitPoints(CLOUD, 5),
    "limit-points-more": lambda: LimitPoints(CLOUD, 20),
    "scale-points": lambda: ScalePoints(CLOUD, (1.0, 1.0, 1.0, 255.0)),
    "resize-oblong": lambda: ResizeImages((8, 12)),
    "waypoints": lambda: Waypoints(2.0),
    "embed-instruction": lambda: EmbedInstruction(HashedNgramEmbedder(32)),
    "tokenize-instruction": lambda: TokenizeInstruction(WordTokenizer(32), 6),
    "tokenize-prompt": lambda: TokenizeInstruction(WordTokenizer(32), 9, "do {instruction} now", lowercase=True),
    "join-streams": lambda: JoinStreams({STATE: ((StreamPart(STATE, 3, 1, 3), StreamPart(STATE, 3, 0, 1)),)}),
    "align-streams": lambda: replace(LEFT, names={FRONT: "observation.images.top"}),
    "per-dataset": lambda: PerDataset(
        {
            "left": view("mean_std", LEFT),
            "right": replace(view("min_max", RIGHT), join=JoinStreams({STATE: ((StreamPart(STATE, 3, 0, 3),),)})),
            "": view("quantile", LEFT),
        }
    ),
    "pipeline": lambda: TransformPipeline(
        [ResizeImages(8), normalize("mean_std"), EmbedInstruction(HashedNgramEmbedder(32))]
    ),
}
