"""The smallest policies that train within a second, for tests of all rooms."""

from __future__ import annotations

from pathlib import Path

from tests import recordings


def statevla_arguments(dataset: Path) -> list[str]:
    """Arguments of `train statevla` that train on `recordings.record` within a second."""
    settings = {
        "data.data_directory": dataset,
        "data.validation_batches": 1,
        "transform.shift_px": 0,
        "model.cameras": f"[{recordings.FRONT}]",
        "model.image_size": 16,
        "model.embed_dim": 16,
        "model.lang_emb_dim": 16,
        "model.robot_state_dim": 3,
        "model.encoder_type": "transformer",
        "model.encoder_depth": 1,
        "model.num_heads": 2,
        "model.state_dim": 16,
        "model.action_dim": 2,
        "model.has_gripper": "false",
        "model.action_seq_len": 4,
        "model.policy_type": "transformer",
        "model.policy_layers": 1,
        "model.policy_embed_dim": 16,
        "training.batch_size": 4,
        "training.train_steps": 4,
        "training.save_interval": 0,
        "training.phase1.temporal_predictor_hidden_dim": 16,
    }
    return [str(word) for key, value in settings.items() for word in (f"--{key}", value)]
