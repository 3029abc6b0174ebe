"""Checks of the checkpoint from which the training of a VLA starts."""

from __future__ import annotations

import logging
from pathlib import Path

from tempovla.model.vla.context_policy import base_weights
from tempovla.model.vla.lora import LoRAConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vla.weights import load_weights
from tempovla.recipe.systems.temporal_config import check_reach
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.storage.json_files import plain_json, read_json
from tempovla.timeline import Bundle
from tempovla.timeline.bundle import read_meta
from tempovla.transform.pipeline import TransformPipeline

LOGGER = logging.getLogger(__name__)


def check_start(
    recipe: VLARecipe,
    pretrained_vlm: str | Path | None,
    base_checkpoint: str | Path | None,
    resume: str | Path | None,
) -> None:
    """Refuse two starting points at once, a useless one, and a context that could not learn what it needs.

    Raises:
        ValueError: if the part that sees one frame would start twice or from another kind of policy, features would be
            frozen that were never trained, adapters would be frozen before they learn, or control looks back further
            than training.
    """
    if base_checkpoint is not None:
        if pretrained_vlm is not None:
            raise ValueError(
                f"--pretrained-vlm {pretrained_vlm} is of no use with --base-checkpoint {base_checkpoint}, which has a "
                "vision-language model already; leave out one of them"
            )
        kind = read_meta(base_checkpoint)["policy"]
        if kind != "vla":
            raise ValueError(
                f"{base_checkpoint}: is of policy {kind!r}, not a VLA; give a checkpoint of `tempovla train vla`"
            )
    context = recipe.model.context
    if context is None:
        return
    context.check_stride(recipe.model.action_horizon)
    check_reach(context)
    if context.freeze_base and pretrained_vlm is None and base_checkpoint is None and resume is None:
        raise ValueError(
            "model.context.freeze_base=true would keep random features as they are; give --base-checkpoint or "
            "--pretrained-vlm, or set it to false"
        )
    if context.freeze_base and recipe.model.lora is not None and resume is None and not _has_adapters(base_checkpoint):
        raise ValueError(
            "model.context.freeze_base=true would keep the new adapters of model.lora from learning; set it to false, "
            "leave model.lora out, or give a --base-checkpoint that was trained with adapters"
        )


def _has_adapters(checkpoint: str | Path | None) -> bool:
    """Return whether there is a checkpoint, and it was trained with LoRA."""
    return checkpoint is not None and any("lora_" in name for name in Bundle.load(checkpoint).weights)


def load_base(policy: VLAModel, checkpoint: str | Path, lora: LoRAConfig | None) -> None:
    """Load a policy's weights from a bundle of one like it, with a context or without, and give it adapters if asked.

    Those of the bundle are loaded, too, where it has some.

    Raises:
        ValueError: if there is no bundle, or its policy is of another size.
    """
    weights = base_weights(Bundle.load(checkpoint).weights)
    adapted = any("lora_" in name for name in weights)
    if lora is not None and adapted:
        policy.enable_lora(lora.r, lora.alpha, lora.target_modules)
    load_weights(policy, weights, str(checkpoint))
    if lora is not None and not adapted:
        policy.enable_lora(lora.r, lora.alpha, lora.target_modules)


def warn_of_other_transform(base_checkpoint: str | Path | None, transform: TransformPipeline) -> TransformPipeline:
    """Return the transform, and warn if the starting point of the run was trained with another one."""
    if base_checkpoint is not None:
        before = read_json(Path(base_checkpoint) / "transform.json", remedy="copy the bundle again")
        if before != plain_json(transform.to_json()):
            LOGGER.warning(
                "%s: was trained behind other transforms (statistics of other data, another tokenizer, ...); its "
                "features fit only those",
                base_checkpoint,
            )
    return transform
