"""Behaviour cloning of a driving policy as a recipe: data, transforms, model, training, from one config."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from tempovla.data.errors import DatasetError
from tempovla.data.window import embodiment_of
from tempovla.model.sensor.calibrations import CalibrationError, view_cameras
from tempovla.model.vla.multi_sensor_config import MultiSensorVLAConfig
from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
from tempovla.model.vla.weights import load_weights
from tempovla.recipe.datasets.dataset import raw_observations
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, one_dataset
from tempovla.recipe.systems.driving_config import DrivingRecipe
from tempovla.recipe.systems.job import Imitation, check_encoding_cache
from tempovla.recipe.systems.language import choose_tokenizer, fitting_tokenizer, with_trainable_dtype
from tempovla.timeline import Bundle, EpisodeSource, Task, Transform
from tempovla.timeline.bundle import read_meta
from tempovla.timeline.driving import LIDAR_KEY, LIDAR_NAMES, RADAR_KEY
from tempovla.training.result import FitResult
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.image import ResizeImages
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.points import CropPoints, LimitPoints, ScalePoints
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.waypoints import Waypoints

BRIGHTEST = 255.0
"""Largest intensity of a LiDAR point."""
LOGGER = logging.getLogger(__name__)
_SEPARABLE = ("history.", "instruct.", "supervision.")
"""Parts of a policy that no other part's size depends on."""


def train_driving(
    recipe: DrivingRecipe,
    out_dir: str | Path,
    *,
    base_checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    source: EpisodeSource | DatasetMixture | None = None,
) -> FitResult:
    """Train a driving policy in `out_dir`.

    Args:
        recipe: the experiment.
        out_dir: folder of the run.
        base_checkpoint: bundle of a driving policy whose weights this one starts from; see `load_base`.
        resume: checkpoint of this run to go on from.
        source: the dataset, if it is loaded already.

    Raises:
        ValueError: if a dataset or the tokenizer does not fit the model, or a checkpoint is missing or of another
            model.
    """
    base = None if resume is not None else base_checkpoint  # a resumed run has learned on since
    if base is not None:
        check_kind(base)
    recipe = recipe.resolved if source is None else recipe
    check_encoding_cache(MultiSensorVLA.kind, recipe)
    data = one_dataset(source, recipe)
    check_drives(recipe.model, data.only)
    imitation = Imitation(
        MultiSensorVLA.kind,
        lambda: build_policy(recipe, base),
        lambda policy, data: build_transform(recipe, policy, data),
    )
    return imitation.train(recipe, data, out_dir, resume=resume)


def build_policy(recipe: DrivingRecipe, base_checkpoint: str | Path | None = None) -> MultiSensorVLA:
    """Return the policy to train.

    Args:
        recipe: the experiment.
        base_checkpoint: bundle of a driving policy whose weights it starts from.

    Raises:
        ValueError: if what it starts from is of another size.
    """
    config = recipe.model
    if config.language is not None:
        config = replace(config, language=with_trainable_dtype(config.language))
    policy = MultiSensorVLA(config)
    if base_checkpoint is not None:
        load_base(policy, base_checkpoint)
    return policy


def check_kind(checkpoint: str | Path) -> None:
    """Refuse a checkpoint of another kind of policy.

    Raises:
        ValueError: if it is one, or there is none.
    """
    kind = read_meta(checkpoint)["policy"]
    if kind != MultiSensorVLA.kind:
        raise ValueError(
            f"{checkpoint}: is of policy {kind!r}, which does not drive; give a checkpoint of `tempovla train driving`"
        )


def load_base(policy: MultiSensorVLA, checkpoint: str | Path) -> None:
    """Load the weights of a driving policy that has the same sensors and sizes.

    Its temporal encoder, FiLM and the heads that learn from supervision may be missing there, and then begin anew; if
    this policy has none of them, they are left out.

    Raises:
        ValueError: if there is no bundle, or its policy has other sensors or sizes.
    """
    found, own = Bundle.load(checkpoint).weights, policy.state_dict()
    taken = {name: weight for name, weight in found.items() if name in own or not name.startswith(_SEPARABLE)}
    new = {name: weight for name, weight in own.items() if name not in found and name.startswith(_SEPARABLE)}
    load_weights(policy, new | taken, str(checkpoint))
    if new:
        parts = ", ".join(sorted({name.split(".")[0] for name in new}))
        LOGGER.info("%s: has no weights for %s, which learn from the beginning", checkpoint, parts)


def check_drives(model: MultiSensorVLAConfig, source: EpisodeSource) -> None:
    """Refuse drives at another rate than that of the waypoints, and cameras without calibration.

    Raises:
        ValueError: naming the dataset, the value and the remedy.
    """
    if source.rate_hz != model.rate_hz:
        raise DatasetError(
            f"{source.name}: has {source.rate_hz:g} control steps a second, but the model's waypoints are at "
            f"model.rate_hz={model.rate_hz:g}; set it to the dataset's"
        )
    if "cameras" not in model.mapped:  # only a bird's eye view needs calibrations
        return
    body = embodiment_of(source, 0)
    try:
        view_cameras([Task("", body)], model.cameras, model.image_size, needs_intrinsics=True, needs_extrinsics=True)
    except CalibrationError:
        lacking = [key for key in model.cameras if (camera := body.camera(key)) is None or camera.pose is None]
        raise DatasetError(
            f"{source.name}: {lacking[0]!r} has no calibration with a pose, by which pictures come into the bird's eye "
            "view; record it, or leave the camera out of model.cameras"
        ) from None
    for key in model.cameras:
        camera = body.camera(key)
        if camera is not None and camera.frame != "base":
            raise DatasetError(
                f"{source.name}: the pose of {key!r} is given in the frame {camera.frame!r}; give it in that of the "
                "vehicle, base"
            )


def build_transform(recipe: DrivingRecipe, policy: MultiSensorVLA, data: DatasetMixture) -> TransformPipeline:
    """Return the transforms that training and control share; only the tokenizer depends on anything outside the recipe.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the model knows.
    """
    model, name = recipe.model, recipe.transform.tokenizer
    if model.language is None:
        tokenizer = fitting_tokenizer(name or "words", policy.vocabulary)
    else:
        tokenizer = choose_tokenizer(name, model.language, policy.vocabulary)
    return TransformPipeline(
        [
            *raw_observations(model, data.only),
            *sensor_transforms(model),
            Waypoints(model.rate_hz),
            TokenizeInstruction(tokenizer, model.max_instruction_tokens),
        ]
    )


def sensor_transforms(model: MultiSensorVLAConfig) -> list[Transform]:
    """Return the transforms of pictures and points: their sizes, the volume that is seen, and units."""
    grid, steps = model.grid, list[Transform]()
    if model.uses("cameras"):
        own = {} if model.front_size is None or not model.reads_front else {str(model.front_camera): model.front_size}
        steps.append(ResizeImages(model.image_size, sizes=own))
    depths = tuple(key for key, spec in model.streams().items() if spec.kind == "depth")
    if depths:
        steps.append(ResizeDepth(depths, None))  # any size will do, but control is to know that these are no pictures
    if LIDAR_KEY in model.streams():
        low, high = (grid.x_min, grid.y_min, grid.z_min), (grid.x_max, grid.y_max, grid.z_max)
        scale = (*[1.0] * (len(LIDAR_NAMES) - 1), BRIGHTEST)
        steps += [
            CropPoints(LIDAR_KEY, low, high),
            LimitPoints(LIDAR_KEY, model.max_lidar_points),
            ScalePoints(LIDAR_KEY, scale),
        ]
    if model.uses("radar"):
        low_2d, high_2d = (grid.x_min, grid.y_min), (grid.x_max, grid.y_max)
        steps += [CropPoints(RADAR_KEY, low_2d, high_2d), LimitPoints(RADAR_KEY, model.max_radar_points)]
    return steps
