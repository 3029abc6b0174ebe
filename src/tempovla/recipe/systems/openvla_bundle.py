"""Conversion of a published checkpoint of OpenVLA to a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tempovla import __version__
from tempovla.env.registry import SIMULATOR_REGISTRY, simulator_class
from tempovla.model.vla.openvla_statistics import ActionStatistics
from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
from tempovla.recipe.systems.openvla import assemble, prompt_transform
from tempovla.recipe.systems.openvla_config import OpenVLARecipe
from tempovla.storage.said_by import said_by
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import Normalize
from tempovla.transform.scaling import SMALLEST_SCALE


def openvla_bundle(recipe: OpenVLARecipe, unnorm_key: str | None, robot: str) -> Bundle:
    """Return a bundle of a published checkpoint with its transforms, which gives the actions of its own
    `predict_action`.

    Args:
        recipe: `model` names the checkpoint and the camera, `transform` the gripper and the prompt; the checkpoint
            defines the rest.
        unnorm_key: dataset of the checkpoint's `norm_stats` whose actions are meant; None where there is one.
        robot: name of the simulator whose body is to move.

    Raises:
        ValueError: if there is no such checkpoint, dataset, tokenizer or robot, or its actions are not the robot's.
    """
    if robot not in SIMULATOR_REGISTRY:
        raise ValueError(f"robot={robot!r} is unknown; choose from {sorted(SIMULATOR_REGISTRY)}")
    model, body, gripper_open = recipe.model, simulator_class(robot)().embodiment, recipe.transform.gripper_open
    policy = OpenVLAWrapper.from_pretrained(model.pretrained, camera=model.cameras[0], dtype=model.dtype or "bfloat16")
    with said_by(model.pretrained, remedy="copy the checkpoint again"):
        statistics = ActionStatistics.of(policy.config.norm_stats, unnorm_key)
    if len(statistics.mask) != body.action_dim:
        raise ValueError(
            f"{model.pretrained}: actions of {unnorm_key!r} have {len(statistics.mask)} dimensions, but those of "
            f"{body.name} {body.action_dim}; choose another unnorm_key or robot"
        )
    if gripper_open is not None and bool(statistics.mask[-1]):
        raise ValueError(
            f"{model.pretrained}: the last action dimension of {unnorm_key!r} is normalised like the others, so it is "
            "no gripper; leave gripper_open out"
        )
    name = unnorm_key or next(iter(policy.config.norm_stats))
    policy.take_dataset(name, statistics, has_gripper=gripper_open is not None)
    model = replace(model, action_dim=body.action_dim, has_gripper=gripper_open is not None, lora=None)
    recipe = replace(recipe, model=model)
    transform = assemble(recipe, ResizeImages(None), normalization(statistics), prompt_transform(recipe, policy))
    return Bundle(
        "openvla",
        config_to_json(policy.config),
        policy.windows(),
        body,
        transform.to_json(),
        policy.state_dict(),
        {"pretrained": model.pretrained, "tempovla": __version__, "recipe": config_to_json(recipe)},
        transform.assets(),
    )


def normalization(statistics: ActionStatistics) -> Normalize:
    """Return the normalisation of a checkpoint's actions; a dimension that never varied stays as it is."""
    centre = (statistics.low + statistics.high) / 2
    half = ((statistics.high - statistics.low) / 2).clamp(min=SMALLEST_SCALE)
    offset = centre.where(statistics.mask, centre.new_zeros(()))
    return Normalize({ACTION_KEY: offset}, {ACTION_KEY: half.where(statistics.mask, half.new_ones(()))})


def write_openvla_bundle(recipe: OpenVLARecipe, out: str | Path, *, unnorm_key: str | None, robot: str) -> Bundle:
    """Save `openvla_bundle` in a folder."""
    bundle = openvla_bundle(recipe, unnorm_key, robot)
    bundle.save(out)
    return bundle
