"""Fine-tuning of OpenVLA by behaviour cloning, from published weights: with adapters (LoRA), or as a whole."""

from __future__ import annotations

from pathlib import Path

import torch

from tempovla.model.vla.openvla_config import OPENVLA_PROMPT
from tempovla.model.vla.openvla_statistics import ActionStatistics
from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
from tempovla.recipe.datasets.dataset import observation_transforms
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, one_dataset
from tempovla.recipe.systems.job import Imitation, check_encoding_cache
from tempovla.recipe.systems.openvla_config import OpenVLARecipe
from tempovla.timeline import EpisodeSource, Transform
from tempovla.timeline.keys import ACTION_KEY
from tempovla.training.result import FitResult
from tempovla.transform.gripper import RemapGripper
from tempovla.transform.image import CropImages
from tempovla.transform.normalize import Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import TransformersTokenizer


def train_openvla(
    recipe: OpenVLARecipe,
    out_dir: str | Path,
    *,
    resume: str | Path | None = None,
    source: EpisodeSource | DatasetMixture | None = None,
) -> FitResult:
    """Fine-tune OpenVLA in `out_dir`.

    Args:
        recipe: the experiment.
        out_dir: folder of the run.
        resume: checkpoint of this run to go on from; the model that it started from must still exist.
        source: the dataset, if it is loaded already.

    Raises:
        ValueError: if there is no pretrained model, the dataset or the tokenizer does not fit it, or a checkpoint is
            missing or of another model.
    """
    if not recipe.model.pretrained:
        raise ValueError("model.pretrained is empty; give the name or folder of an OpenVLA checkpoint")
    check_encoding_cache("openvla", recipe)
    data = one_dataset(source, recipe)
    imitation = Imitation(
        "openvla",
        lambda: build_policy(recipe, data.only),
        lambda policy, data: build_transform(recipe, policy, data.only),
    )
    return imitation.train(recipe, data, out_dir, resume=resume)


def build_policy(recipe: OpenVLARecipe, source: EpisodeSource) -> OpenVLAWrapper:
    """Return the policy to train, for the dataset's actions.

    Raises:
        ValueError: if there is no such checkpoint, or no layer for the adapters.
    """
    model = recipe.model
    dtype = model.dtype or ("float32" if model.lora is None else "bfloat16")
    policy = OpenVLAWrapper.from_pretrained(model.pretrained, camera=model.cameras[0], dtype=dtype)
    _, normalize = observation_transforms(recipe.transform, model, 1, source)
    name = Path(source.name).name
    policy.take_dataset(name, action_statistics(recipe, normalize), has_gripper=model.has_gripper)
    if model.lora is not None:
        policy.enable_lora(model.lora.r, model.lora.alpha, model.lora.target_modules)
    if recipe.training.recompute_activations:
        policy.enable_gradient_checkpointing()
    return policy


def action_statistics(recipe: OpenVLARecipe, normalize: Normalize) -> ActionStatistics:
    """Return a dataset's normalisation in the format of published checkpoints."""
    offset, scale = normalize.offset[ACTION_KEY], normalize.scale[ACTION_KEY]
    mask = torch.ones(len(scale), dtype=torch.bool)
    mask[-1] = not recipe.model.has_gripper
    return ActionStatistics(offset - scale, offset + scale, mask)


def build_transform(recipe: OpenVLARecipe, policy: OpenVLAWrapper, source: EpisodeSource) -> TransformPipeline:
    """Return the transforms that training and control share, fitted to the dataset's statistics.

    Pictures keep their shape, as the model resizes them itself, in the same way for `predict_action`.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the model.
    """
    side = policy.config.vlm.featurizer.image_size
    pictures, normalize = observation_transforms(recipe.transform, recipe.model, side, source, resize=False)
    return assemble(recipe, pictures, normalize, prompt_transform(recipe, policy))


def assemble(
    recipe: OpenVLARecipe, pictures: Transform, normalize: Normalize, tokenize: TokenizeInstruction
) -> TransformPipeline:
    """All transforms in order: the picture and its middle, the gripper before the normalisation, and the prompt."""
    settings = recipe.transform
    steps = [pictures]
    if settings.crop_area < 1 and not settings.blind:
        steps.append(CropImages(settings.crop_area))
    if settings.gripper_open is not None:
        steps.append(RemapGripper(settings.gripper_open, -settings.gripper_open))
    return TransformPipeline([*steps, normalize, tokenize])


def prompt_transform(recipe: OpenVLARecipe, policy: OpenVLAWrapper) -> TokenizeInstruction:
    """Return instructions in the prompt that OpenVLA was trained with, as its own tokenizer writes them.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the model.
    """
    name = recipe.transform.tokenizer or recipe.model.pretrained
    tokenizer = TransformersTokenizer(name)
    known = policy.vlm.language_model.config.vocab_size
    if tokenizer.vocab_size > known:
        raise ValueError(
            f"tokenizer {name!r} has {tokenizer.vocab_size} ids, but the language model knows {known}; "
            "give the one that goes with it as transform.tokenizer"
        )
    return TokenizeInstruction(tokenizer, recipe.transform.max_prompt_tokens, OPENVLA_PROMPT, lowercase=True)
