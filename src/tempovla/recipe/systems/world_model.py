"""World models as a recipe: a policy acts in a simulator and learns from what it meets with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempovla.control.controller import Controller
from tempovla.env.protocol import SimulatorConfig
from tempovla.env.registry import simulator_class
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.recipe.collection.experience import Experience
from tempovla.recipe.collection.online_stream import OnlineSchedule, OnlineStream
from tempovla.recipe.datasets.dataset import preparation, run_facts
from tempovla.recipe.systems.job import TrainJob, told_if_too_large
from tempovla.recipe.systems.world_model_config import OnlineConfig, WorldModelRecipe
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.training import distributed
from tempovla.training.precision import settle_precision
from tempovla.training.result import FitResult
from tempovla.transform.image import ResizeImages
from tempovla.transform.pipeline import TransformPipeline

REPLAY, LOG = "replay", "episodes.jsonl"
"""In the folder of a run: the episodes, and a line about each."""


def train_world_model(recipe: WorldModelRecipe, out_dir: str | Path, *, resume: str | Path | None = None) -> FitResult:
    """Train a policy that acts by a world model, in `out_dir`.

    Args:
        recipe: the experiment.
        out_dir: folder of the run.
        resume: checkpoint of this run to go on from.

    Raises:
        ValueError: if there is no such simulator or task, its observations or actions do not fit the model, or a
            checkpoint is missing or of another model.
    """
    if not recipe.online.env:
        raise ValueError("online.env is missing; name a simulator to learn in, such as --env dmc --task cartpole-swingup")
    simulator = simulator_of(recipe.online, recipe.model)
    recipe = replace(recipe, model=fitted(recipe.model, simulator))
    with distributed.process_group() as device:
        training = settle_precision(recipe.training, device, resume)
        torch.manual_seed(training.seed)
        with told_if_too_large():
            policy = WorldModelPolicy(recipe.model).to(device)
        transform = TransformPipeline([ResizeImages(recipe.model.image_size)] if recipe.model.cameras else [])

        def bundle(weights: Mapping[str, Tensor]) -> Bundle:
            return bundle_of(policy, transform, simulator, recipe, weights)

        actor = Controller(policy, transform, bundle({}), device, explores=True)
        root = Path(out_dir)
        with online_episodes(root / REPLAY, simulator, policy, is_new=resume is None) as episodes:
            experience = Experience(simulator.make(), actor, episodes, training.seed, root / LOG)
            online = recipe.online
            schedule = OnlineSchedule(online.seed_steps, online.pretrain_updates, online.updates_per_step)
            draw = drawn_from(episodes, policy.training_windows(), training.batch_size, training.seed)
            stream = OnlineStream(experience, draw, schedule, training.batch_size)
            prepare = preparation(recipe.transform, transform)
            job = TrainJob(policy, stream, bundle, prepare, phase="world-model")
            return job.run(training, root, resume)


def simulator_of(online: OnlineConfig, model: WorldModelConfig) -> SimulatorConfig:
    """Return the config of the simulator in which a policy learns.

    Raises:
        ValueError: if there is no such simulator, task or setting.
    """
    kind = simulator_class(online.env)
    fields = {"task": online.task, "render": bool(model.cameras), **online.settings}
    simulator = config_from_json(kind, fields, "online.settings", upgrade=False)
    simulator.check_task(simulator.task)
    return simulator


def fitted(model: WorldModelConfig, simulator: SimulatorConfig) -> WorldModelConfig:
    """Return the model's config with the sizes of a simulator's body and episodes.

    Raises:
        ValueError: if a size is given that is not the simulator's.
    """
    body = simulator.embodiment
    reads_state = model.robot_state_dim is not None or not model.cameras
    if model.robot_state_dim not in (None, body.state_dim):
        raise ValueError(
            f"model.robot_state_dim={model.robot_state_dim}, but {simulator.task} has {body.state_dim} dimensions; "
            "leave it out"
        )
    return replace(
        model,
        robot_state_dim=body.state_dim if reads_state else None,
        action_dim=body.action_dim,
        episode_length=simulator.max_steps or model.episode_length,
    )


def bundle_of(
    policy: WorldModelPolicy,
    transform: TransformPipeline,
    simulator: SimulatorConfig,
    recipe: WorldModelRecipe,
    weights: Mapping[str, Tensor],
) -> Bundle:
    """Return the bundle to deploy."""
    facts: dict[str, Any] = {
        "dataset": recipe.online.env,
        "instructions": [simulator.instruction(simulator.task)],
        "recording": simulator.recording(recipe.online.env),
        **run_facts(recipe),
    }
    windows, body = transform.own_windows(policy.windows()), simulator.embodiment
    return Bundle(
        policy.kind, config_to_json(policy.config), windows, body, transform.to_json(), weights, facts, transform.assets()
    )
