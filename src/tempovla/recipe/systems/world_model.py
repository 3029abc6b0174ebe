"""World models as a recipe: a policy acts in a simulator and learns from what it meets with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempovla.control.controller import Controller
from tempovla.data.replay import ReplaySource
from tempovla.data.replay_files import DESCRIPTION
from tempovla.data.sequence_sampler import SequenceSampler
from tempovla.env.protocol import SimulatorConfig, SimulatorEnv
from tempovla.env.registry import simulator_class
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.recipe.collection.experience import Experience
from tempovla.recipe.collection.online_stream import OnlineSchedule, OnlineStream
from tempovla.recipe.datasets.dataset import preparation, run_facts
from tempovla.recipe.systems.job import TrainJob, told_if_too_large
from tempovla.recipe.systems.world_model_config import OnlineConfig, WorldModelRecipe
from tempovla.timeline import Bundle, StreamInfo
from tempovla.timeline.bundle_path import LATEST
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.keys import ACTION_KEY, DONE_KEY, IMAGE_KEY_PREFIX, REWARD_KEY, SUCCESS_KEY, TERMINATED_KEY
from tempovla.timeline.source import StreamKind
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
        raise ValueError(
            "online.env is missing; name a simulator to learn in, such as --env dmc --task cartpole-swingup"
        )
    simulator = simulator_of(recipe.online, recipe.model)
    settled = recipe.training.settled(recipe.model.algorithm)
    recipe = replace(recipe, model=fitted(recipe.model, simulator), training=settled)
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
        online, env = recipe.online, simulator.make()
        with open_replay(root / REPLAY, env, online, is_new=not (root / LATEST).exists()) as replay:
            experience = Experience(env, actor, replay, training.seed, root / LOG)
            schedule = OnlineSchedule(online.seed_steps, online.pretrain_updates, online.updates_per_step)
            windows = policy.training_windows()
            rows = {"batch_size": training.batch_size, "length": policy.agent.sequence_length, "seed": training.seed}
            stream = OnlineStream(experience, SequenceSampler(replay, windows, **rows), schedule)
            prepare = preparation(recipe.transform, transform)
            job = TrainJob(policy, stream, bundle, prepare, phase="world-model")
            return job.run(training, root, resume)


def open_replay(folder: Path, env: SimulatorEnv, online: OnlineConfig, *, is_new: bool) -> ReplaySource:
    """Return the replay of a run, whose episodes are those of one simulator and task.

    Args:
        folder: of the replay.
        env: the environment that is acted in.
        online: how much is kept.
        is_new: whether the run has no checkpoint, so that episodes of an earlier attempt are dropped.

    Raises:
        ValueError: if the folder holds episodes of another simulator or task, or another run appends to them.
    """
    body = env.config.embodiment
    facts = {"simulator": online.env, "task": env.task, "settings": env.config.recording(online.env)}
    most, steps, streams = online.replay_bytes, online.replay_steps, streams_of(env)
    if not (folder / DESCRIPTION).exists():
        return ReplaySource.create(folder, streams, body.rate_hz, body, facts, max_bytes=most, capacity=steps)
    replay = ReplaySource.open(folder, facts, streams, max_bytes=most, capacity=steps)
    if is_new:
        replay.truncate(0)
    return replay


def streams_of(env: SimulatorEnv) -> dict[str, StreamInfo]:
    """Return the streams of the episodes of an environment."""
    body = env.config.embodiment
    observations, _ = env.config.spaces()
    streams = {}
    for key, space in observations.spaces.items():
        kind: StreamKind = "image" if key.startswith(IMAGE_KEY_PREFIX) else "state"
        streams[key] = StreamInfo(kind, space.shape or (), str(space.dtype), body.rate_hz)
    streams[ACTION_KEY] = StreamInfo("action", (body.action_dim,), "float32", body.rate_hz)
    kinds = {REWARD_KEY: "float32", TERMINATED_KEY: "bool", SUCCESS_KEY: "bool", DONE_KEY: "bool"}
    return streams | {key: StreamInfo("scalar", (1,), dtype, body.rate_hz) for key, dtype in kinds.items()}


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
