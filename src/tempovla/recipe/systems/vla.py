"""Behaviour cloning of a VLA as a recipe: data, transforms, model, training, from one config."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tempovla.model.vla.context_policy import ContextPolicy, base_of, with_context
from tempovla.model.vla.vla_config import VLAConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, as_mixture
from tempovla.recipe.datasets.same_body import warn_of_other_body
from tempovla.recipe.systems.clip import with_reaching_clip
from tempovla.recipe.systems.job import Imitation, check_encoding_cache, encodes_once
from tempovla.recipe.systems.language import choose_tokenizer, with_trainable_dtype
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.recipe.systems.vla_start import check_start, load_base, warn_of_other_transform
from tempovla.timeline import EpisodeSource, Transform
from tempovla.training.result import FitResult
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction


def train_vla(
    recipe: VLARecipe,
    out_dir: str | Path,
    *,
    pretrained_vlm: str | Path | None = None,
    base_checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    source: EpisodeSource | DatasetMixture | None = None,
) -> FitResult:
    """Train a VLA in `out_dir`.

    Args:
        recipe: the experiment.
        out_dir: folder of the run.
        pretrained_vlm: folder whose vision-language model the run starts from.
        base_checkpoint: bundle of a trained VLA, with a context or without, whose part that sees one frame, action head
            included, this one starts from.
        resume: checkpoint of this run to go on from.
        source: the dataset or the mixture, if it is loaded already.

    Raises:
        ValueError: if a dataset or the tokenizer does not fit the model, a checkpoint is missing or of another model,
            or the context reaches further than its training or freezes what was never trained.
    """
    check_start(recipe, pretrained_vlm, base_checkpoint, resume)
    if resume is not None:
        pretrained_vlm = base_checkpoint = None  # its weights have learned on since
    check_encoding_cache("vla", recipe)
    data = as_mixture(source, recipe, decode=not encodes_once(recipe.model))
    if not data.is_one:
        if recipe.model.context is not None:
            raise ValueError("model.context learns from one dataset; give data.data_directory instead of data.mixture")
        recipe = replace(recipe, model=resolve_model(recipe.model, data))
    warn_of_other_body(base_checkpoint, data, reads_state=recipe.model.robot_state_dim is not None)
    recipe = replace(recipe, model=with_reaching_clip(recipe.model, recipe.transform, data))
    imitation = Imitation(
        "vla",
        lambda: build_policy(recipe, pretrained_vlm, base_checkpoint),
        lambda policy, data: warn_of_other_transform(base_checkpoint, build_transform(recipe, policy, data)),
        encodes_once=encodes_once(recipe.model),
    )
    return imitation.train(recipe, data, out_dir, resume=resume)


def resolve_model(model: VLAConfig, mixture: DatasetMixture) -> VLAConfig:
    """Return the model's config with what follows from the datasets of a mixture filled in."""
    optional = {*model.optional_cameras, *mixture.missing_cameras}
    return replace(
        model,
        optional_cameras=tuple(camera for camera in model.cameras if camera in optional),
        reads_dims=model.reads_dims or (model.robot_state_dim is not None and bool(mixture.widths(model))),
    )


def build_policy(
    recipe: VLARecipe, pretrained_vlm: str | Path | None = None, base_checkpoint: str | Path | None = None
) -> VLAModel | ContextPolicy:
    """Return the policy to train.

    Args:
        recipe: the experiment.
        pretrained_vlm: folder whose vision-language model it takes.
        base_checkpoint: bundle of a VLA, with a context or without, whose weights its part that sees one frame takes.

    Raises:
        ValueError: if what is taken is of another size.
    """
    # A pretrained language model that learns as a whole is held in float32, unless `language.dtype` says otherwise:
    # steps as small as those of fine-tuning would be lost in bfloat16's rounding.
    config = recipe.model
    language = config.vlm.language
    if config.lora is None:
        language = with_trainable_dtype(language)
    policy = VLAModel(replace(config, vlm=replace(config.vlm, language=language), lora=None))
    if pretrained_vlm is not None:
        policy.load_vlm(pretrained_vlm)
    if base_checkpoint is not None:
        load_base(policy, base_checkpoint, config.lora)
    elif config.lora is not None:
        policy.enable_lora(config.lora.r, config.lora.alpha, config.lora.target_modules)
    if recipe.training.recompute_activations:
        policy.enable_gradient_checkpointing()
    return with_context(policy)


def build_transform(recipe: VLARecipe, policy: VLAModel | ContextPolicy, data: DatasetMixture) -> TransformPipeline:
    """Return the transforms that training and control share, fitted to the statistics of the dataset, or of each.

    Raises:
        ValueError: if there is no such tokenizer, it has more ids than the language model knows, or pictures that are
            to be padded or cropped differ in shape.
    """
    base = base_of(policy)
    shared = observation_steps(recipe, base, data)
    language = base.vlm.language
    tokenizer = choose_tokenizer(recipe.transform.tokenizer, recipe.model.vlm.language, language.vocab_size)
    words = TokenizeInstruction(tokenizer, base.config.max_instruction_tokens)
    return TransformPipeline([*shared, words])


def observation_steps(recipe: VLARecipe, policy: VLAModel, data: DatasetMixture) -> tuple[Transform, ...]:
    """Return the transforms of pictures, states and actions.

    Raises:
        ValueError: if pictures that are to be padded or cropped differ in shape.
    """
    model, vision = policy.config, policy.config.vlm.vision
    assert vision.image_size is not None
    stretched = vision.resize == "stretch"
    if data.is_one and not stretched:
        shapes = {camera: data.only.streams[camera].shape for camera in model.cameras}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                f"vision.resize={vision.resize} needs cameras of one shape, not {shapes}; set vision.resize=stretch"
            )
    return data.observation_steps(recipe.transform, model, policy.windows(), vision.image_size, resize=stretched)
