"""SA-GR as a recipe: data, transforms, model, training, from one config."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from tempovla.model.sensor.calibrations import CalibrationError
from tempovla.model.sensor.config import LatentGeometryConfig
from tempovla.model.vla.sagr import SAGR
from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vla.sagr_metrics import PERSISTENCE, PICTURE_SPREAD
from tempovla.model.vlm.config import FROM_SCRATCH, VisionEncoderConfig, is_fetched
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, as_mixture
from tempovla.recipe.datasets.targets import count_targets
from tempovla.recipe.systems.collapse import FALLEN, CollapseAlarm, Watched
from tempovla.recipe.systems.job import Imitation
from tempovla.recipe.systems.language import choose_tokenizer, special_token_ids, with_trainable_dtype
from tempovla.recipe.systems.sagr_config import SAGRRecipe
from tempovla.timeline import EpisodeSource
from tempovla.timeline.keys import ACTION_KEY
from tempovla.training import distributed
from tempovla.training.result import FitResult
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction

LOGGER = logging.getLogger(__name__)
STAND_IN = VisionEncoderConfig(FROM_SCRATCH[0], image_size=32)
"""An encoder in the place of one that would be fetched."""

LOW = 1e-3
"""Standard deviation of task tokens of one instruction at which they hardly tell pictures apart; each has a variance
of 1.
"""
ENOUGH_ROWS = 128
"""The alarm looks at the mean of figures of so many rows."""


def train_sagr(
    recipe: SAGRRecipe,
    out_dir: str | Path,
    *,
    pretrained_vlm: str | Path | None = None,
    resume: str | Path | None = None,
    source: EpisodeSource | DatasetMixture | None = None,
) -> FitResult:
    """Train an SA-GR policy in `out_dir`.

    Args:
        recipe: the experiment.
        out_dir: folder of the run.
        pretrained_vlm: folder whose vision-language model the run starts from.
        resume: checkpoint of this run to go on from.
        source: the dataset or the mixture, if it is loaded already.

    Raises:
        ValueError: if a dataset or the tokenizer does not fit the model, or a checkpoint is missing or of another
            model.
    """
    start = None if resume is not None else pretrained_vlm
    recipe = recipe.resolved if source is None else recipe
    data = as_mixture(source, recipe)
    check_inferred(recipe.model, data)
    tell_targets(recipe.model, data)
    imitation = Imitation(
        "sagr",
        lambda: build_policy(recipe, start, data.missing_cameras),
        lambda policy, data: build_transform(recipe, policy, data),
        callback=lambda batches_per_epoch: build_alarm(recipe, batches_per_epoch),
    )
    return imitation.train(recipe, data, out_dir, resume=resume)


def tell_targets(model: SAGRConfig, data: DatasetMixture) -> None:
    """Log how many steps of every dataset have a frame to predict; warn where none of a dataset has one."""
    if not model.uses_future:
        return
    for member in data.members:
        for ahead in (model.temporal_delta_k, *(model.horizons if model.uses_world else ())):
            found = count_targets(member.source, ahead)
            if found.targets:
                LOGGER.info("%s: %s", member.name, found)
            else:
                LOGGER.warning(
                    "%s: %s, so the prediction learns nothing from it; record longer episodes, or lower model.%s",
                    member.name,
                    found,
                    "temporal_delta_k" if ahead == model.temporal_delta_k else "horizons",
                )


def check_inferred(model: SAGRConfig, data: DatasetMixture) -> None:
    """Refuse videos whose actions are inferred beside bodies whose actions differ in size.

    Raises:
        ValueError: naming the video and a body with fewer dimensions than the model.
    """
    videos = [member.name for member in data.members if ACTION_KEY in member.lacks]
    width = data.widths(model).get(ACTION_KEY)
    if model.inverse_weight and videos and width is not None:
        small = next(member for member in data.members if 0 < member.dim(ACTION_KEY) < width)
        raise ValueError(
            f"data.mixture: {small.name} has {small.dim(ACTION_KEY)} of the model's {width} action dimensions, so that "
            f"nothing tells those of {videos[0]}; leave one of them out, or set model.inverse_weight=0"
        )


def build_alarm(recipe: SAGRRecipe, batches_per_epoch: int) -> CollapseAlarm:
    """Return the alarm for a collapse of the task tokens in this run."""
    training, model = recipe.training, recipe.model
    rows = training.batch_size * training.gradient_accumulation * distributed.world_size()
    lines = math.ceil(ENOUGH_ROWS / (rows * training.log_interval))
    subject = "the task tokens are collapsing: between samples of one instruction they have a standard deviation of"
    if model.world_detach_input:
        remedy = "raise model.cloning_weight, or lower training.learning_rate"
        watched = Watched(PICTURE_SPREAD, subject, LOW, "at most 1", remedy)
    elif model.world_target_encoder != "online" or model.world_target not in ("task_tokens", "z"):
        remedy = "keep the prediction from moving them (model.world_detach_input=true)"
        watched = Watched(PICTURE_SPREAD, subject, LOW, "at most 1", remedy)
    else:  # also where hardly any two samples of a batch have one instruction
        remedy = (
            "keep the prediction from moving them (model.world_detach_input=true), or let the target follow slowly "
            "(model.world_target_encoder=ema)"
        )
        subject = f"the task tokens are collapsing: in {model.temporal_delta_k} steps they change by a mean square of"
        watched = Watched(PERSISTENCE, subject, 0.0, "0 where all pictures are the same", remedy, fallen=FALLEN**2)
    return CollapseAlarm(watched, training.total_steps(batches_per_epoch), rows, lines)


def build_policy(
    recipe: SAGRRecipe, pretrained_vlm: str | Path | None = None, missing_cameras: Collection[str] = ()
) -> SAGR:
    """Return the policy to train.

    Args:
        recipe: the experiment.
        pretrained_vlm: folder whose vision-language model it takes.
        missing_cameras: cameras of the model that some dataset does not have.

    Raises:
        ValueError: if what is taken is of another size.
    """
    config = recipe.resolved_model
    optional = {*config.optional_cameras, *missing_cameras}
    config = replace(config, optional_cameras=tuple(camera for camera in config.cameras if camera in optional))
    language = config.vlm.language
    if config.lora is None:
        language = with_trainable_dtype(language)
    special = special_token_ids(recipe.transform.tokenizer, config.vlm.language)
    policy = SAGR(replace(config, vlm=replace(config.vlm, language=language), special_token_ids=special, lora=None))
    if pretrained_vlm is not None:
        policy.load_vlm(pretrained_vlm)
    if config.lora is not None:
        policy.enable_lora(config.lora.r, config.lora.alpha, config.lora.target_modules)
    if recipe.training.recompute_activations:
        policy.enable_gradient_checkpointing()
    if config.unlearned is not None:
        LOGGER.warning("%s", config.unlearned)
    count = policy.world_parameters
    if count > config.world_predictor_max_params:
        LOGGER.warning(
            "the world predictor has %d parameters, more than model.world_predictor_max_params=%d; make it smaller "
            "with model.world_hidden_dim or model.world_num_layers",
            *(count, config.world_predictor_max_params),
        )
    return policy


def check_model(recipe: SAGRRecipe) -> None:
    """Refuse a recipe whose model cannot be built. No weights are made or read.

    A vision encoder or geometry that would be fetched is left out. If the language model would be fetched, what depends
    on its width or its number of layers is not looked at.

    Raises:
        ValueError: in one line, as a training does.
    """
    model = recipe.resolved_model
    if model.vlm.language.architecture is None:
        return
    vision, geometry = model.vlm.vision, model.geometry
    if is_fetched(vision):
        vision = STAND_IN
        model = replace(model, vlm=replace(model.vlm, projector="mlp", projector_options={}))
        if model.world_target == "vision":  # nothing says how many tokens FLARE's target will have
            model = replace(model, flare_weight=0.0)
    if isinstance(geometry, LatentGeometryConfig) and is_fetched(geometry.vision):
        geometry = None
    with torch.device("meta"):
        SAGR(replace(model, vlm=replace(model.vlm, vision=vision), geometry=geometry))


def build_transform(recipe: SAGRRecipe, policy: SAGR, data: DatasetMixture) -> TransformPipeline:
    """Return the transforms that training and control share, fitted to the statistics of the dataset, or of each.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the language model knows; or if the model
            needs a calibration that a camera does not have.
    """
    model, vision = policy.config, policy.config.vlm.vision
    assert vision.image_size is not None
    geometry = policy.frames.geometry
    for member in data.members:
        if geometry is not None and all(own == key for key, own in member.cameras.items()):
            try:
                geometry.check(member.source.embodiment)
            except CalibrationError as problem:
                raise ValueError(f"{member.name}: {problem}") from None
    stretched = vision.resize == "stretch"
    windows = policy.training_windows()
    shared = data.observation_steps(recipe.transform, model, windows, vision.image_size, resize=stretched)
    tokenizer = choose_tokenizer(recipe.transform.tokenizer, recipe.model.vlm.language, policy.vlm.language.vocab_size)
    return TransformPipeline([*shared, TokenizeInstruction(tokenizer, model.max_instruction_tokens)])
