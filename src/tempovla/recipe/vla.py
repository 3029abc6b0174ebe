"""Behaviour cloning of a VLA as a recipe: data, transforms, model, training, from one config."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tempovla.model.vla.vla_model import VLAModel
from tempovla.recipe.dataset import (
    FixedBatches,
    build_loader,
    check_fits,
    load_dataset,
    observation_transforms,
    preparation,
    provenance,
    split_source,
)
from tempovla.recipe.vla_config import VLARecipe
from tempovla.timeline import Bundle, EpisodeSource
from tempovla.timeline.config import config_to_json
from tempovla.train import distributed
from tempovla.train.trainer import FitResult, fit
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction, Tokenizer, TransformersTokenizer, WordTokenizer

LOGGER = logging.getLogger(__name__)

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
    training_mixture, validation_mixture = split_source(source, recipe)
    with distributed.process_group() as device:
        torch.manual_seed(training.seed)
        policy = VLAModel(recipe.model).to(device)
        if training.recompute_activations:
            policy.enable_gradient_checkpointing()
        transform = build_transform(recipe, policy, source)
        if pretrained_vlm is not None and resume is None:
            policy.load_vlm(pretrained_vlm)
        loader = build_loader(training_mixture, policy, recipe, training)
        validation = None
        if validation_mixture is not None:
            validation = FixedBatches(validation_mixture, policy, recipe, training, transform)
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


def build_transform(recipe: VLARecipe, policy: VLAModel, source: EpisodeSource) -> TransformPipeline:
    """The transforms that training and control share, fitted to the dataset's statistics.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the language model knows.
    """
    model, image_size = policy.config, policy.config.vlm.vision.image_size
    assert image_size is not None
    shared = observation_transforms(recipe.transform, model, image_size, source)
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
    name = recipe.transform.tokenizer or (language.model_name if language.architecture is None else WORDS)
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
