"""World models learned online: a policy acts in a simulator while it learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempovla.control.controller import Controller
from tempovla.data.sequence_sampler import SequenceSampler
from tempovla.env.protocol import SimulatorConfig
from tempovla.env.registry import simulator_class
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.recipe.datasets.dataset import preparation, run_facts
from tempovla.recipe.online.experience import Experience
from tempovla.recipe.online.replay import open_replay, require_replay
from tempovla.recipe.online.stream import OnlineSchedule, OnlineStream
from tempovla.recipe.systems.job import TrainJob, told_if_too_large
from tempovla.recipe.systems.world_model_config import OnlineConfig, WorldModelRecipe
from tempovla.storage.json_files import to_json_text
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.training import distributed
from tempovla.training.precision import settle_precision
from tempovla.training.result import FitResult
from tempovla.transform.image import ResizeImages
from tempovla.transform.pipeline import TransformPipeline

REPLAY, LOG = "replay", "episodes.jsonl"
"""In the folder of a run: the episodes, and a line about each."""
FIXED = ("seed_steps", "pretrain_updates", "updates_per_step", "greedy_every", "replay_steps")
"""Settings of learning online that a run keeps when it goes on, beside those of the simulator."""


def learn_online(recipe: WorldModelRecipe, out_dir: str | Path, resume: str | Path | None) -> FitResult:
    """Let a policy act in a simulator, and learn from what it meets with; see `train_world_model`."""
    simulator = simulator_of(recipe.online, recipe.model)
    recipe = replace(recipe, model=fitted(recipe.model, simulator))
    with distributed.process_group() as device:
        training = settle_precision(recipe.training.settled(recipe.model), device, resume)
        torch.manual_seed(training.seed)
        with told_if_too_large():
            policy = WorldModelPolicy(recipe.model).to(device)
        transform = TransformPipeline([ResizeImages(recipe.model.image_size)] if recipe.model.cameras else [])

        def bundle(weights: Mapping[str, Tensor]) -> Bundle:
            return bundle_of(policy, transform, simulator, recipe, weights)

        actor = Controller(policy, transform, bundle({}), device)
        root = Path(out_dir)
        if resume is not None:
            require_replay(root / REPLAY)
        online, env = recipe.online, simulator.make()
        limits = {"max_bytes": online.replay_bytes, "capacity": online.replay_steps}
        with open_replay(root / REPLAY, env, online.env, **limits) as replay:
            experience = Experience(env, actor, replay, training.seed, root / LOG, online.greedy_every)
            schedule = OnlineSchedule(online.seed_steps, online.pretrain_updates, online.updates_per_step)
            windows = policy.training_windows()
            rows = {"batch_size": training.batch_size, "length": policy.agent.sequence_length, "seed": training.seed}
            sampler = SequenceSampler(replay, windows, **rows, stride=recipe.model.action_repeat)
            stream = OnlineStream(
                experience, sampler, schedule, simulator.episode_steps, fixed_settings(online, simulator)
            )
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


def fixed_settings(online: OnlineConfig, simulator: SimulatorConfig) -> dict[str, Any]:
    """Return the settings below `online`, as plain JSON values, that a run keeps when it goes on.

    They are those of the schedule and of the replay, and the fields of the simulator's config that change what an
    episode is. The task is left out, as the replay knows it.
    """
    settings = config_to_json(simulator)
    own = {f"settings.{name}": settings[name] for name in settings if name not in ("task", *simulator.incidental)}
    return {name: getattr(online, name) for name in FIXED} | {key: own[key] for key in own if _is_plain(own[key])}


def _is_plain(value: Any) -> bool:
    """Whether JSON holds a value; `online.settings` can give no others, so that those are always the defaults."""
    try:
        to_json_text(value)
    except TypeError:
        return False
    return True


def fitted(model: WorldModelConfig, simulator: SimulatorConfig) -> WorldModelConfig:
    """Return the model's config with the sizes of a simulator's body and episodes.

    Raises:
        ValueError: if a size is given that is not the simulator's.
    """
    body, (observations, _) = simulator.embodiment, simulator.spaces()
    if model.state_key not in observations.spaces:
        raise ValueError(
            f"model.state_key={model.state_key} is no stream of {simulator.title}, which has "
            f"{', '.join(observations.spaces)}; choose one, or turn it on in online.settings"
        )
    (state_dim,) = observations[model.state_key].shape or (1,)
    reads_state = model.robot_state_dim is not None or not model.cameras
    if model.robot_state_dim not in (None, state_dim):
        raise ValueError(
            f"model.robot_state_dim={model.robot_state_dim}, but {simulator.task} has {state_dim} dimensions; leave it "
            "out"
        )
    return replace(
        model,
        robot_state_dim=state_dim if reads_state else None,
        action_dim=body.action_dim,
        episode_length=simulator.episode_steps or model.episode_length,
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
        policy.kind,
        config_to_json(policy.config),
        windows,
        body,
        transform.to_json(),
        weights,
        facts,
        transform.assets(),
    )
