"""Stage 1: a vision-language model learns from conversations about pictures, before a policy is built on it.

`align` trains the projector alone, so that pictures become words to a language model that stays as it is; `instruct`
trains projector and language model (visual instruction tuning; Liu et al., 2023, arXiv:2304.08485).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tempovla import __version__
from tempovla.data.conversation_loader import TokenizedConversation
from tempovla.model.vla.lora import MergedWeights, add_lora
from tempovla.model.vla.pretrained_io import VLM_PARTS, load_vlm_parts
from tempovla.model.vla.registry import VLM
from tempovla.model.vlm.caption_model import CaptionModel, VLMPart
from tempovla.recipe.systems.conversations import answer_words, build_batches, load_conversations
from tempovla.recipe.systems.job import TrainJob
from tempovla.recipe.systems.language import choose_tokenizer, with_trainable_dtype
from tempovla.recipe.systems.vlm_config import VLMRecipe
from tempovla.timeline import Bundle
from tempovla.timeline.bodies import NO_BODY
from tempovla.timeline.config import config_to_json
from tempovla.training import distributed
from tempovla.training.result import FitResult
from tempovla.transform.chat import ChatTokenizer

Stage = Literal["align", "instruct"]
STAGES: tuple[Stage, ...] = get_args(Stage)
LOGGER = logging.getLogger(__name__)


def train_vlm(
    recipe: VLMRecipe,
    stage: Stage,
    out_dir: str | Path,
    *,
    pretrained_vlm: str | Path | None = None,
    new_projector: bool = False,
    resume: str | Path | None = None,
) -> FitResult:
    """Train a vision-language model in `out_dir`.

    Args:
        recipe: the experiment.
        stage: what learns: `align` the projector, `instruct` projector and language model.
        out_dir: folder of the run.
        pretrained_vlm: folder whose vision encoder, projector and language model the run starts from.
        new_projector: leave that folder's projector, and start with a new one.
        resume: checkpoint of this run to go on from.

    Raises:
        ValueError: if the dataset is not as it should be, the tokenizer does not fit the model, the recipe asks for
            what the stage does not do, or a checkpoint is missing or of another model.
    """
    check_stage(recipe, stage)
    if new_projector and pretrained_vlm is None:
        raise ValueError(
            "--new-projector has no effect without --pretrained-vlm, because all parts are new; leave it out"
        )
    training = recipe.training
    with distributed.process_group() as device:
        model = build_model(recipe, stage, None if resume else pretrained_vlm, new_projector).to(device)
        if stage == "align" and pretrained_vlm is None and resume is None and recipe.model.vlm.language.architecture:
            LOGGER.warning(
                "align: the language model has fresh weights and does not learn, so pictures cannot be aligned to "
                "words; train instruct first"
            )
        chat = build_chat(recipe, model)
        conversations = load_conversations(recipe.data, chat)
        check_length(model, conversations)
        words = answer_words(recipe.data, chat.tokenizer)
        loader, validation = build_batches(conversations, recipe, model.vlm.config.vision)
        if training.recompute_activations:
            model.vlm.recompute_activations(True)
        job = TrainJob(
            model,
            loader,
            lambda weights: make_bundle(model, chat, weights, recipe, stage, len(conversations), words),
            validation=validation,
            phase=stage,
        )
        return job.run(training, out_dir, resume)


def train_align(recipe: VLMRecipe, out_dir: str | Path, **options: Any) -> FitResult:
    """`train_vlm` in stage `align`."""
    return train_vlm(recipe, "align", out_dir, **options)


def train_instruct(recipe: VLMRecipe, out_dir: str | Path, **options: Any) -> FitResult:
    """`train_vlm` in stage `instruct`."""
    return train_vlm(recipe, "instruct", out_dir, **options)


def check_stage(recipe: VLMRecipe, stage: Stage) -> None:
    """Refuse settings that have no effect in a stage.

    Raises:
        ValueError: naming the setting and the remedy.
    """
    unused = {
        "training.learn_vision": recipe.training.learn_vision,
        "training.recompute_activations": recipe.training.recompute_activations,
        "model.lora": recipe.model.lora is not None,
    }
    for name, is_set in unused.items():
        if stage == "align" and is_set:
            raise ValueError(f"{name} is set, but align trains the projector alone; leave it out, or train instruct")
    if stage == "instruct" and recipe.model.vlm.language.freeze:
        raise ValueError("model.vlm.language.freeze=true, but instruct trains it; set it to false, or train align")


def build_model(
    recipe: VLMRecipe, stage: Stage, pretrained_vlm: str | Path | None = None, new_projector: bool = False
) -> CaptionModel:
    """Return the model to train, its parts taken from a folder where one is given, but for a new projector.

    Fresh weights follow from the training's seed, the stage and `new_projector`: a new projector is never what the
    folder's began as, to which its language model has grown used.
    """
    key = (recipe.training.seed, STAGES.index(stage), int(new_projector))
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
    vlm, lora = recipe.model.vlm, recipe.model.lora
    learns: list[VLMPart] = ["projector"]
    if stage == "instruct":
        learns.append("language")
        if lora is None:
            vlm = replace(vlm, language=with_trainable_dtype(vlm.language))
    if recipe.training.learn_vision:
        learns.append("vision")
        vlm = replace(vlm, vision=replace(vlm.vision, freeze=False))
    model = CaptionModel(vlm, learns)
    left_out = "projector" if new_projector else None
    if pretrained_vlm is not None:
        load_vlm_parts(model.vlm, pretrained_vlm, [part for part in VLM_PARTS if part != left_out])
    if lora is not None:
        model.vlm.language.requires_grad_(False)
        add_lora(model.vlm.language.decoder, lora)
    return model


def build_chat(recipe: VLMRecipe, model: CaptionModel) -> ChatTokenizer:
    """Return the tokenizer of conversations.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the language model.
    """
    text = recipe.transform
    tokenizer = choose_tokenizer(text.tokenizer, recipe.model.vlm.language, model.vlm.language.vocab_size)
    return ChatTokenizer.of(tokenizer, text.max_text_tokens, text.template)


def check_length(model: CaptionModel, conversations: tuple[TokenizedConversation, ...]) -> None:
    """Refuse texts that the language model has no positions for, before training starts.

    Raises:
        ValueError: naming the longest.
    """
    longest = max(conversations, key=lambda conversation: len(conversation.ids))
    positions = getattr(model.vlm.language.decoder.config, "max_position_embeddings", None)
    vision = model.vlm.num_vision_tokens
    if positions is not None and vision + len(longest.ids) > positions:
        raise ValueError(
            f"{longest.where}: {vision} vision tokens and {len(longest.ids)} of text are more than the language "
            f"model's {positions}; set transform.max_text_tokens to {positions - vision} or less"
        )


def make_bundle(
    model: CaptionModel,
    chat: ChatTokenizer,
    weights: Mapping[str, Tensor],
    recipe: VLMRecipe,
    stage: Stage,
    conversations: int,
    words: Sequence[str] = (),
) -> Bundle:
    """Return a policy's initial weights, with adapters merged into them, and their provenance."""
    config = replace(recipe.model, vlm=model.vlm.resolved_config)
    vision = model.vlm.resolved_config.vision
    transform = {"chat": chat.to_json(), "image_size": vision.image_size, "resize": vision.resize, "words": list(words)}
    provenance = {
        "stage": stage,
        "dataset": recipe.data.dataset,
        "conversations": conversations,
        "tempovla": __version__,
        "torch": torch.__version__,
        "recipe": config_to_json(recipe),
    }
    lora = recipe.model.lora
    merged = weights if lora is None else MergedWeights(weights, lora)
    return Bundle(VLM, config_to_json(config), (), NO_BODY, transform, merged, provenance, chat.assets())
