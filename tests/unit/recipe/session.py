"""Runs of small recipes, for several processes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from tests.rounding import smooth_steps
from tests.tiny import original_recipe, tiny_recipe, vla_recipe
from tests.tiny_models import VISION_SIZES
from tests.unit.recipe.mixtures import mixed_recipe

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.lora import LoRAConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.recipe.systems.statevla import PHASE_NAMES, train_phase
from tempovla.recipe.systems.vla import train_vla
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.training.result import FitResult

VLA_KINDS = ("whole", "context", "lora")
PARALLEL = ("ddp", "fsdp")
STATEVLA_RUNS = (("original", "fsdp"), ("cached", "ddp"), ("tiny", "ddp"))
"""What four processes train by DDP is no run of two as well."""


@smooth_steps()
def train(kind: str, dataset: str | Path, out: str | Path, batch_size: int, parallel: str = "ddp") -> None:
    """Batches are of `batch_size` rows in each process.

    In phase 2 `original` freezes the encoder, `cached` also encodes each observation once, `tiny` trains it on;
    `cached` keeps the encodings in `out` and trains phase 2 a second time, with them, in `out`/again.
    """
    recipe = original_recipe(dataset)
    if kind == "cached":
        recipe = replace(
            recipe,
            data=replace(recipe.data, encoding_cache=str(Path(out, "encodings"))),
            training=replace(recipe.training, phase2=replace(recipe.training.phase2, cache_encodings=True)),
        )
    if kind == "tiny":
        recipe = tiny_recipe(dataset)
        recipe = replace(recipe, model=replace(recipe.model, freeze_encoder=False))
    training = replace(recipe.training, batch_size=batch_size, train_steps=None, num_epochs=1, parallel=parallel)
    recipe = replace(recipe, training=training)
    for phase in (1, 2):
        train_phase(recipe, phase, out)
    if kind == "cached":
        start = Path(out, PHASE_NAMES[1], "checkpoint_latest")
        train_phase(recipe, 2, Path(out, "again"), phase1_checkpoint=start)


def with_one_layer(recipe: VLARecipe) -> VLARecipe:
    """The recipe of a language model and an action head of one layer: sharding takes its time by the weight."""
    language = recipe.model.vlm.language
    language = replace(language, architecture={**language.architecture, "num_hidden_layers": 1})
    head = recipe.model.action_head
    options = {head: {**recipe.model.action_head_options[head], "num_layers": 1}}
    vlm = replace(recipe.model.vlm, language=language)
    return replace(recipe, model=replace(recipe.model, vlm=vlm, action_head_options=options))


@smooth_steps()
def train_vla_kind(
    kind: str,
    dataset: str | Path,
    out: str | Path,
    batch_size: int,
    parallel: str = "ddp",
    resume: Path | None = None,
) -> FitResult:
    """`whole` learns as a whole and recomputes activations; `lora` has frozen vision, adapters and two batches a step.

    `context` remembers, in windows that may begin before the episode does. An epoch is of four batches.
    """
    recipe = vla_recipe(dataset) if kind == "whole" else with_one_layer(vla_recipe(dataset))
    settings = {
        "batch_size": batch_size,
        "train_steps": None,
        "num_epochs": 1,
        "save_interval_steps": 2,
        "keep_every": 2,
    }
    if kind == "whole":
        settings["recompute_activations"] = True
    elif kind == "context":
        core = {"encoder_type": "lstm", "hidden_dim": 8, "num_layers": 1, "dropout": 0.0}
        context = ContextConfig(temporal=core, stride=2, sequence_length=3, burn_in=1)
        recipe = replace(recipe, model=replace(recipe.model, context=context, feature_dim=16, token_dim=4))
    else:
        settings["gradient_accumulation"] = 2
        architecture = {"model_type": "siglip_vision_model", **VISION_SIZES, "image_size": 16, "patch_size": 8}
        vision = VisionEncoderConfig("siglip", freeze=True, architecture=architecture)
        model = replace(recipe.model, vlm=replace(recipe.model.vlm, vision=vision), lora=LoRAConfig(r=2, alpha=4.0))
        recipe = replace(recipe, model=model)
    recipe = replace(recipe, training=replace(recipe.training, parallel=parallel, **settings))
    return train_vla(recipe, out, resume=resume)


@smooth_steps()
def train_mixture(root: str | Path, out: str | Path, batch_size: int, parallel: str = "ddp") -> None:
    """A few steps on two bodies, whose datasets lie in `root`."""
    train_vla(mixed_recipe(Path(root), batch_size=batch_size, train_steps=4, parallel=parallel), out)


def train_pairs(folder: str, batch_size: int) -> None:
    """All that two processes train, one run after the other: each kind by DDP and, where that differs, by FSDP.

    The last half of a sharded VLA is trained again as `resumed`. The datasets lie in `folder`.
    """
    out = Path(folder)
    for kind, parallel in STATEVLA_RUNS:
        train(kind, out / "dataset", out / f"{kind}_{parallel}", batch_size, parallel)
    for kind, parallel in itertools.product(VLA_KINDS, PARALLEL):
        train_vla_kind(kind, out / "dataset", out / f"{kind}_{parallel}", batch_size, parallel)
    halfway = out / "whole_fsdp/checkpoints/step_00000002"
    train_vla_kind("whole", out / "dataset", out / "resumed", batch_size, "fsdp", halfway)
    for parallel in PARALLEL:
        train_mixture(out, out / f"mixture_{parallel}", batch_size, parallel)
