"""Behaviour cloning of SmolVLA as a recipe: data, transforms, model, training, from one config."""

from __future__ import annotations

from pathlib import Path

from tempovla.model.vla.context_policy import ContextPolicy, base_of, with_context
from tempovla.model.vla.smolvla_wrapper import SmolVLAWrapper
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, one_dataset
from tempovla.recipe.datasets.same_body import warn_of_other_body
from tempovla.recipe.systems.job import Imitation, check_encoding_cache, encodes_once
from tempovla.recipe.systems.language import WORDS, fitting_tokenizer
from tempovla.recipe.systems.smolvla_config import SmolVLARecipe
from tempovla.recipe.systems.temporal_config import check_reach
from tempovla.timeline import EpisodeSource
from tempovla.training.result import FitResult
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import INSTRUCTION, TokenizeInstruction
from tempovla.transform.tokenizer import Tokenizer

PROMPT = INSTRUCTION + "\n"
"""An instruction ends with a line break, as LeRobot's; hashed words do not see it."""
OF_THE_TASK = (
    "cameras",
    "robot_state_dim",
    "action_dim",
    "has_gripper",
    "chunk_size",
    "max_instruction_tokens",
    "num_steps",
    "draws",
    "flow_time_alpha",
    "train_state_proj",
    "context",
)
"""Settings that the recipe applies to a pretrained policy."""
LEARNING = ("freeze_vision_encoder", "train_expert_only")
"""Settings that the recipe applies to a pretrained policy only where it sets them."""


def train_smolvla(
    recipe: SmolVLARecipe,
    out_dir: str | Path,
    *,
    pretrained_policy: str | Path | None = None,
    resume: str | Path | None = None,
    source: EpisodeSource | DatasetMixture | None = None,
) -> FitResult:
    """Train a SmolVLA in `out_dir`.

    Args:
        recipe: the experiment.
        out_dir: folder of the run.
        pretrained_policy: name or folder of a SmolVLA that the run starts from, LeRobot's or one that was saved here.
        resume: checkpoint of this run to go on from.
        source: the dataset, if it is loaded already.

    Raises:
        ValueError: if the dataset or the tokenizer does not fit the model, a checkpoint is missing or of another model,
            or the context reaches further than its training.
    """
    if recipe.model.context is not None:
        recipe.model.context.check_stride(recipe.model.chunk_size)
        check_reach(recipe.model.context)
    check_encoding_cache("smolvla", recipe)
    data = one_dataset(source, recipe, decode=not encodes_once(recipe.model))
    start = None if resume is not None else pretrained_policy
    imitation = Imitation(
        "smolvla",
        lambda: build_policy(recipe, pretrained_policy),
        lambda policy, data: start_transform(start, recipe, policy, data),
        encodes_once=encodes_once(recipe.model),
    )
    return imitation.train(recipe, data, out_dir, resume=resume)


def start_transform(
    pretrained_policy: str | Path | None,
    recipe: SmolVLARecipe,
    policy: SmolVLAWrapper | ContextPolicy,
    data: DatasetMixture,
) -> TransformPipeline:
    """`build_transform`, with a warning where what a run starts from learned to move another body."""
    warn_of_other_body(pretrained_policy, data, reads_state=policy.config.robot_state_dim is not None)
    return build_transform(recipe, base_of(policy), data)


def build_policy(recipe: SmolVLARecipe, pretrained_policy: str | Path | None = None) -> SmolVLAWrapper | ContextPolicy:
    """Return the policy to train: of a pretrained one, streams and training are the recipe's, and sizes its own."""
    if pretrained_policy is None:
        policy = SmolVLAWrapper(recipe.model)
    else:
        fields = {name: getattr(recipe.model, name) for name in OF_THE_TASK}
        learning = {name: getattr(recipe.model, name) for name in LEARNING}
        fields |= {name: value for name, value in learning.items() if value is not None}
        policy = SmolVLAWrapper.from_pretrained(pretrained_policy, **fields)
        lora = recipe.model.lora
        if lora is not None:
            policy.enable_lora(lora.r, lora.alpha, lora.target_modules)
    if recipe.training.recompute_activations:
        policy.enable_gradient_checkpointing()
    return policy if isinstance(policy, ContextPolicy) else with_context(policy)


def build_transform(recipe: SmolVLARecipe, policy: SmolVLAWrapper, data: DatasetMixture) -> TransformPipeline:
    """Return the transforms that training and control share, fitted to the dataset's statistics.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the language model.
    """
    model, vlm = policy.config, policy.vlm
    stretch = vlm.config.resize == "stretch"
    shared = data.observation_steps(recipe.transform, model, policy.windows(), vlm.image_size, resize=stretch)
    tokenizer = build_tokenizer(recipe, policy)
    words = TokenizeInstruction(tokenizer, model.max_instruction_tokens, PROMPT)
    return TransformPipeline([*shared, words])


def build_tokenizer(recipe: SmolVLARecipe, policy: SmolVLAWrapper) -> Tokenizer:
    """Return the tokenizer that the recipe names, or else the one that goes with SmolVLM, hashed words with a fresh
    one.
    """
    own = WORDS if recipe.model.vlm.architecture else policy.config.vlm.model_name
    return fitting_tokenizer(recipe.transform.tokenizer or own, policy.vlm.vocab_size)
