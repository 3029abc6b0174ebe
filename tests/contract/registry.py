"""Everything that the laws are run over. A new component is one line here.

`test_registry.py` fails when a registered policy or transform is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests import drives, recordings, smolvla_tiny
from tests.contract.memory_cases import MemoryCase, history, temporal
from tests.contract.policy_cases import (
    CONTEXTS,
    PolicyCase,
    bodies,
    driving,
    openvla,
    remembering,
    sagr,
    seeded,
    smolvla,
    statevla,
    vla,
    world_model,
)
from tests.contract.rssm_memory import RSSMMemory
from tests.contract.source_cases import (
    DRIVING_WINDOWS,
    LIBERO_WINDOWS,
    REPLAY_WINDOWS,
    WINDOWS,
    SourceCase,
    demonstrated,
    driven,
    in_memory,
    recorded,
    replayed,
)
from tests.contract.toys import ACTION, FRONT, STATE, ToyMemory, ToyPolicy, ToySource
from tests.contract.transform_cases import CLOUD, DEPTH, LEFT, RIGHT, normalize, view

from tempovla.data.memory import preload
from tempovla.data.selection import select
from tempovla.data.stream_keys import StreamKeys, with_keys
from tempovla.model.fusion.bev_config import LiftConfig
from tempovla.model.layers.mamba import Mamba, MambaConfig
from tempovla.model.layers.ssd import Mamba2Config
from tempovla.model.sensor.config import LatentGeometryConfig
from tempovla.model.temporal import HierarchicalMemory, WorkingMemory
from tempovla.model.temporal.memory.buffer import MemoryBuffer, MemoryConfig
from tempovla.model.vlm.config import VisionEncoderConfig
from tempovla.timeline import Transform, Window
from tempovla.timeline.parts import StreamPart
from tempovla.transform.blind import BlankImages
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.gripper import RemapGripper
from tempovla.transform.image import CropImages, ResizeImages
from tempovla.transform.join import JoinStreams
from tempovla.transform.pipeline import PerDataset, TransformPipeline
from tempovla.transform.points import CropPoints, LimitPoints, ScalePoints
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer
from tempovla.transform.waypoints import Waypoints

FLOW = ("pos_rot_loss", "gripper_loss")
DEMO = {"encoder_type": "transformer", "policy_type": "transformer", "readout": "all_tokens", "image_tokenizer": "conv"}

METAWORLD = {"readout": "all_tokens", "token_dim": 4, "feature_dim": 8, "cloning_weight": 1.0}

IN_CONTEXT = {
    "transformer-hierarchical": CONTEXTS["transformer"] | CONTEXTS["hierarchical"],
    "gru-buffer": CONTEXTS["gru"] | CONTEXTS["buffer"],
    "mamba": CONTEXTS["mamba"],
    "frames-retrieval": CONTEXTS["frames"] | CONTEXTS["retrieval"],
}
"""Contexts of a VLA; an LSTM, a history and a working memory are in the context of every kind of policy."""

POLICIES: dict[str, PolicyCase] = {
    "openvla": openvla(),
    "driving": driving(),
    "driving-blind": driving(sensors=(), reads_state=False),
    "driving-modes": driving(num_modes=3, smooth_plan=True),
    "driving-language-lstm": driving(
        sensors=("cameras",), language=drives.LANGUAGE, temporal=drives.tiny_temporal(), film=True
    ),
    "driving-sample": driving(
        "flow_matching",
        sensors=("cameras", "lidar"),
        lift=LiftConfig(kind="sample"),
        action_head_options={"flow_matching": {"num_steps": 2, "hidden_dim": 8, "num_layers": 1, "num_heads": 2}},
    ),
    "driving-cross-modal-lstm": driving(fusion="cross_modal", temporal=drives.tiny_temporal()),
    "driving-hierarchical": driving(fusion="hierarchical"),
    "driving-taught": driving(
        sensors=("cameras",),
        depth_weight=0.5,
        occupancy_weight=0.5,
        road_weight=0.5,
        light_weight=0.2,
        front_size=(24, 40),
        film=True,
        brake_threshold=0.5,
    ),
    "driving-taught-lstm": driving(
        temporal=drives.tiny_temporal(), occupancy_weight=0.5, road_weight=0.5, light_weight=0.2
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
    "sagr-flow": sagr(loss_w_dyn=0.0, loss_w_geo=0.0, use_drift=False),
    "sagr-feedback": sagr(
        enable_causal_feedback_token=True,
        causal_feedback_aux_weight=0.5,
        causal_feedback_aux_dir_weight=0.5,
        horizons=(1, 4),
        world_target_encoder="ema",
        flare_weight=0.2,
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
    "sagr-state": sagr(world_target="state", inverse_weight=1.0, cloning_weight=1.0, readout_token=True),
    "sagr-z": sagr(world_target="z", world_detach_input=False, enable_causal_feedback_token=True, replan=True),
    "statevla-representation": statevla(1, ("behavior_cloning",)),
    "statevla-policy": statevla(2, FLOW),
    "vla-mlp": vla("mlp", ("action_loss",)),
    "vla-gaussian": vla(
        *("gaussian", ("action_loss",), {"vision": "patch", "projector": "attention_pooling"}),
        **{"num_modes": 2, "min_log_std": -5.0},
    ),
    "vla-diffusion": vla(
        *("diffusion", ("action_loss",), {"projector": "perceiver"}),
        **{"diffusion_steps": 4, "num_steps": 2, "hidden_dim": 8, "num_layers": 2},
    ),
    "vla-transformer": vla(
        *("transformer", ("action_loss",), {"robot_state_dim": None, "readout": "last", "has_gripper": False}),
        **{"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "num_modes": 2},
    ),
    "vla-metaworld": vla("flow_matching", ("action_loss", "behavior_cloning"), METAWORLD, num_steps=2, draws=2),
    **{f"vla-mlp-{name}": vla("mlp", ("action_loss",), remembering(**parts)) for name, parts in IN_CONTEXT.items()},
    "vla-flow-matching-all": vla(
        "flow_matching",
        ("action_loss", "behavior_cloning"),
        {**METAWORLD, **remembering(**CONTEXTS["all"]), "lambda_temporal": 0.1},
        num_steps=2,
    ),
    "statevla-policy-all": statevla(2, FLOW, **remembering(**CONTEXTS["all"])),
    "statevla-policy-demo-working": statevla(
        2, FLOW, freeze_encoder=False, flow_draws=3, **DEMO, **remembering(**CONTEXTS["working"], burn_in=0)
    ),
    "vla-bodies-flow-matching": bodies("flow_matching", num_steps=2, hidden_dim=8, num_layers=1, num_heads=2),
    "world-model-tdmpc": world_model("tdmpc"),
    "world-model-dreamer": world_model("dreamer", blocks=2),
    "world-model-dreamer-gaussian": world_model("dreamer", latent="gaussian", reward_loss="mse"),
    "world-model-dreamer-plans": world_model("dreamer", plans=True),
}

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
