"""The smallest policies that train within a second, and their recipes, for tests of all rooms.

`gripper_recordings` and `recordings` write datasets that fit the recipes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from tests.contract.samples import VOCABULARY

from tempovla.model.action_head.layerwise_config import LayerwiseFlowConfig
from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vla.statevla_config import JepaConfig, StateVLAConfig
from tempovla.model.vla.vla_config import VLAConfig
from tempovla.model.vlm.language_model import LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.model.vlm.vlm_model import VLMConfig
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.systems.statevla_config import Phase1Config, Phase2Config, StateVLARecipe, StateVLATraining
from tempovla.recipe.systems.vla_config import VLARecipe, VLATraining, VLATransformConfig

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
STATEVLA_SIZES: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "embed_dim": 8,
    "lang_emb_dim": 8,
    "robot_state_dim": 3,
    "encoder_depth": 1,
    "num_heads": 2,
    "state_dim": 8,
    "action_dim": 4,
    "action_seq_len": 5,
    "policy_layers": 1,
    "policy_embed_dim": 8,
}
STATEVLA_PARTS = {"encoder_type": "transformer", "policy_type": "transformer", "readout": "all_tokens"}
"""Parts that are cheap to run on a CPU."""


def tiny_statevla_config(**options: Any) -> StateVLAConfig:
    """A StateVLA of two cameras with `STATEVLA_PARTS`."""
    return default_statevla_config(**STATEVLA_PARTS | options)


def default_statevla_config(**options: Any) -> StateVLAConfig:
    """The same sizes with the parts that StateVLA has by default."""
    return StateVLAConfig(**{"cameras": (FRONT, WRIST)} | STATEVLA_SIZES | options)


def statevla_model(**options: Any) -> dict[str, Any]:
    """Plain values for the `model` of `train statevla`: one camera, and actions without a gripper."""
    body = {"cameras": [FRONT], "action_dim": 2, "has_gripper": False, "action_seq_len": 4}
    return STATEVLA_SIZES | STATEVLA_PARTS | body | options


def statevla_arguments(dataset: Path) -> list[str]:
    """Arguments of `train statevla` that train on `recordings.record` within a second."""
    settings = {
        "data.data_directory": dataset,
        "data.validation_batches": 1,
        "transform.shift_px": 0,
        **{f"model.{key}": value for key, value in statevla_model(cameras=f"[{FRONT}]").items()},
        "training.batch_size": 4,
        "training.train_steps": 4,
        "training.save_interval": 0,
        "training.phase1.temporal_predictor_hidden_dim": 16,
    }
    return [str(word) for key, value in settings.items() for word in (f"--{key}", value)]


def tiny_recipe(dataset: str | Path) -> StateVLARecipe:
    """Six steps a phase, everything on that can be."""
    jepa = JepaConfig(
        prediction_horizon=2, regularize="state", inverse_dynamics_weight=1.0, behavior_cloning_weight=1.0
    )
    return StateVLARecipe(
        data=DataConfig(data_directory=str(dataset), train_split=0.75, validation_batches=2),
        model=tiny_statevla_config(action_dim=3, action_seq_len=4, jepa=jepa),
        training=StateVLATraining(
            batch_size=4,
            train_steps=6,
            warmup_steps=1,
            log_interval=1,
            save_interval=0,
            save_interval_steps=3,
            keep_every=3,
            weight_ema_decay=0.9,
            num_threads=1,
            phase1=Phase1Config(learning_rate=1e-3, temporal_predictor_hidden_dim=8),
            phase2=Phase2Config(learning_rate=1e-3),
        ),
    )


def original_recipe(dataset: str | Path) -> StateVLARecipe:
    """The parts and settings of the original StateVLA, which are the defaults, at small sizes."""
    return StateVLARecipe(
        data=DataConfig(data_directory=str(dataset), train_split=0.75, validation_batches=2),
        model=default_statevla_config(encoder_depth=2, action_dim=3, action_seq_len=4),
        training=StateVLATraining(
            batch_size=4, learning_rate=1e-3, log_interval=1, num_threads=1, recompute_activations=True
        ),
    )


SMALL_HEADS = {"flow_matching": {"hidden_dim": 16, "num_layers": 2, "num_heads": 2}}
"""Options of heads that have millions of weights without them."""

SMALL_PROJECTORS: dict[str, dict[str, Any]] = {
    "attention_pooling": {"num_queries": 2, "num_heads": 2},
    "perceiver": {"num_latents": 2, "num_layers": 1, "num_heads": 2},
}
"""Options of projectors that give the language model more tokens without them than it has room for."""


def tiny_vla_config(
    head: str, readout: str = "queries", projector: str = "mlp", vision: str = "conv", layers: int = 2, **options: Any
) -> VLAConfig:
    """Two cameras of 16 px and a small Qwen2; a head is as small as `SMALL_HEADS` says where nothing else does."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": layers, "vocab_size": VOCABULARY}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
    vlm = VLMConfig(
        VisionEncoderConfig(vision, image_size=16, patch_size=8, output_dim=8),
        LLMBackboneConfig(architecture={"model_type": "qwen2", **sizes, **heads}),
        projector,
        SMALL_PROJECTORS.get(projector, {}),
        readout=readout,
        num_queries=2,
    )
    fields = {"robot_state_dim": 3, "action_dim": 4, "action_horizon": 5, "max_instruction_tokens": 6}
    given = options.pop("action_head_options", {})
    fields["action_head_options"] = {**given, head: {**SMALL_HEADS.get(head, {}), **given.get(head, {})}}
    return VLAConfig(vlm, action_head=head, cameras=(FRONT, WRIST), **fields | options)


def six_steps(**options: Any) -> VLATraining:
    """Settings of a training of six steps that keeps the checkpoint of the third as well."""
    settings = {"batch_size": 4, "train_steps": 6, "learning_rate": 1e-3, "warmup_steps": 1, "log_interval": 1}
    kept = {"save_interval": 0, "save_interval_steps": 3, "keep_every": 3, "num_threads": 1}
    return VLATraining(**settings | kept | options)


def vla_recipe(dataset: str | Path) -> VLARecipe:
    """Six steps of a tiny VLA."""
    options = {"readout": "all_tokens", "token_dim": 4, "feature_dim": 8, "cloning_weight": 1.0}
    return VLARecipe(
        data=DataConfig(data_directory=str(dataset), train_split=0.75, validation_batches=2),
        transform=VLATransformConfig(shift_px=1),
        model=tiny_vla_config("flow_matching", action_dim=3, **options),
        training=six_steps(weight_ema_decay=0.9),
    )


VLM_SETTINGS: dict[str, Any] = {
    "vision": {"model_name": "conv", "image_size": 16, "patch_size": 8, "output_dim": 8},
    "language": {
        "architecture": {
            "model_type": "qwen2",
            "vocab_size": 64,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
        }
    },
    "readout": "all_tokens",
}
"""Plain values for the `model.vlm` of a config."""


def vla_model(**options: Any) -> dict[str, Any]:
    """Plain values for the `model` of `train vla` on `recordings.record`: one camera, and actions without a gripper."""
    sizes = {"token_dim": 4, "feature_dim": 8, "robot_state_dim": 3, "action_dim": 2, "action_horizon": 4}
    return {"vlm": VLM_SETTINGS, "cameras": [FRONT], "has_gripper": False, **sizes, **options}


def vla_yaml(model: dict[str, Any] | None = None, **training: Any) -> str:
    """A config for `train vla` on `recordings.record`.

    Args:
        model: fields of the model that differ.
        training: fields of the training that differ.
    """
    steps = {"batch_size": 4, "train_steps": 4, "save_interval": 0, "save_interval_steps": 2, "keep_every": 2}
    recipe = {"data": {"validation_batches": 1}, "model": vla_model(**model or {}), "training": steps | training}
    return yaml.safe_dump(recipe)


def tiny_sagr_config(**options: Any) -> SAGRConfig:
    """An SA-GR of two cameras, one future frame two steps ahead, and chunks of four actions; all of it learns."""
    sizes: dict[str, Any] = {
        "vlm": replace(tiny_vla_config("mlp").vlm, readout="layers"),
        "cameras": (FRONT, WRIST),
        "robot_state_dim": 3,
        "action_dim": 4,
        "action_horizon": 4,
        "temporal_delta_k": 2,
        "max_instruction_tokens": 6,
        "task_token_num": 3,
        "task_token_heads": 2,
        "action_head": LayerwiseFlowConfig(
            head_dim=4, mlp_dim=8, max_seq_len=4, num_target_vision_tokens=3, num_inference_timesteps=2, dropout=0.0
        ),
        "world_hidden_dim": 8,
        "world_num_layers": 1,
        "world_num_heads": 2,
        "drift_hidden_dim": 8,
    }
    return SAGRConfig(**sizes | options)


ONE_LAYER = replace(tiny_vla_config("mlp", layers=1).vlm, readout="layers")
"""A vision-language model for `tiny_sagr_config` that is half as deep."""
