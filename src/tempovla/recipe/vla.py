"""Behaviour cloning of a VLA as a recipe: data, transforms, model, training, from one config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tempovla.model.vla.vla_config import VLAConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vlm.language_model import LANGUAGE_MODELS
from tempovla.recipe.dataset import (
    build_batches,
    check_fits,
    load_dataset,
    observation_transforms,
    preparation,
    provenance,
)
from tempovla.recipe.vla_config import VLARecipe
from tempovla.timeline import Bundle, EpisodeSource
from tempovla.timeline.config import config_to_json
from tempovla.train import distributed
from tempovla.train.trainer import FitResult, fit
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction, Tokenizer, TransformersTokenizer, WordTokenizer

WORDS = "words"


def train_vla(
    recipe: VLARecipe,
    out_dir: str | Path,
    *,
    pretrained_vlm: str | Path | None = None,
    resume: str | Path | None = None,
    source: EpisodeSource | None = None,
) -> FitResult:
    """Train a VLA in `out_dir`.

    Args:
        recipe: the experiment.
        out_dir: folder of the run.
        pretrained_vlm: folder whose vision-language model the run starts from.
        resume: checkpoint of this run to go on from.
        source: the dataset, if it is loaded already.

    Raises:
        ValueError: if the dataset or the tokenizer does not fit the model, or a checkpoint is missing or of another
            model.
    """
    if source is None:
        source = load_dataset(recipe)
    training = recipe.training
    check_fits(recipe.model, source)
    with distributed.process_group() as device:
        torch.manual_seed(training.seed)
        policy = build_policy(recipe.model, None if resume else pretrained_vlm).to(device)
        if training.recompute_activations:
            policy.enable_gradient_checkpointing()
        transform = build_transform(recipe, policy, source)
        loader, validation = build_batches(source, policy.windows(), recipe, training, transform)
        return fit(
            policy,
            loader,
            training,
            out_dir,
            bundle=lambda weights: make_bundle(policy, transform, source, weights, recipe),
            prepare=preparation(recipe.transform, transform),
            validation=validation,
            phase="vla",
            resume=resume,
        )


def build_policy(config: VLAConfig, pretrained_vlm: str | Path | None = None) -> VLAModel:
    """The policy to train, its vision-language model taken from a folder where one is given.

    A pretrained language model that learns as a whole is held in float32, unless `language.dtype` says otherwise: steps
    as small as those of fine-tuning would be lost in bfloat16's rounding.
    """
    language = config.vlm.language
    if language.dtype is None and not language.freeze and config.lora is None:
        language = replace(language, dtype="float32")
    policy = VLAModel(replace(config, vlm=replace(config.vlm, language=language), lora=None))
    if pretrained_vlm is not None:
        policy.load_vlm(pretrained_vlm)
    if config.lora is not None:
        policy.enable_lora(config.lora.r, config.lora.alpha, config.lora.target_modules)
    return policy


def build_transform(recipe: VLARecipe, policy: VLAModel, source: EpisodeSource) -> TransformPipeline:
    """The transforms that training and control share, fitted to the dataset's statistics.

    Raises:
        ValueError: if there is no such tokenizer, it has more ids than the language model knows, or pictures that are
            to be padded or cropped differ in shape between cameras.
    """
    model, vision = policy.config, policy.config.vlm.vision
    assert vision.image_size is not None
    stretched = vision.resize == "stretch"
    shapes = {camera: source.streams[camera].shape for camera in model.cameras}
    if not stretched and len(set(shapes.values())) > 1:
        raise ValueError(
            f"vision.resize={vision.resize} needs cameras of one shape, not {shapes}; set vision.resize=stretch"
        )
    shared = observation_transforms(recipe.transform, model, vision.image_size, source, resize=stretched)
    tokenizer = build_tokenizer(recipe, policy)
    if tokenizer.vocab_size > policy.vlm.language.vocab_size:
        raise ValueError(
            f"transform.tokenizer={recipe.transform.tokenizer} has {tokenizer.vocab_size} ids, but the language model "
            f"knows {policy.vlm.language.vocab_size}; choose the tokenizer that goes with it"
        )
    return TransformPipeline([*shared, TokenizeInstruction(tokenizer, model.max_instruction_tokens)])


def build_tokenizer(recipe: VLARecipe, policy: VLAModel) -> Tokenizer:
    """The tokenizer that the recipe names, or else the one that goes with the language model."""
    language = recipe.model.vlm.language
    own = WORDS if language.architecture else LANGUAGE_MODELS.get(language.model_name, language.model_name)
    name = recipe.transform.tokenizer or own
    return WordTokenizer(policy.vlm.language.vocab_size) if name == WORDS else TransformersTokenizer(name)


def make_bundle(
    policy: VLAModel,
    transform: TransformPipeline,
    source: EpisodeSource,
    weights: Mapping[str, Tensor],
    recipe: VLARecipe,
) -> Bundle:
    """What to deploy."""
    return Bundle(
        "vla",
        config_to_json(policy.config),
        policy.windows(),
        source.embodiment,
        transform.to_json(),
        weights,
        provenance(source, recipe),
    )
