"""Behaviour cloning of any policy: what the recipes of VLAs share once they have a policy and its transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempovla.model.vla.context_policy import base_of
from tempovla.model.vla.weights import load_weights
from tempovla.recipe.datasets.dataset import Recipe, build_batches, check_fits, load_dataset, preparation, provenance
from tempovla.recipe.datasets.encodings import encode, encoded_windows
from tempovla.recipe.datasets.members import DatasetMixture
from tempovla.recipe.datasets.mixing import mixed_batches, mixture_provenance
from tempovla.timeline import Bundle, EpisodeSource, Window, training_windows, window_ends
from tempovla.timeline.config import config_to_json
from tempovla.train import distributed
from tempovla.train.trainer import FitResult, fit
from tempovla.transform.pipeline import TransformPipeline


def clone_behavior(
    kind: str,
    recipe: Recipe,
    out_dir: str | Path,
    *,
    build_policy: Callable[[], Any],
    build_transform: Callable[[Any, Any], TransformPipeline],
    resume: str | Path | None = None,
    source: EpisodeSource | DatasetMixture | None = None,
) -> FitResult:
    """Train a policy to imitate a dataset, in `out_dir`.

    Args:
        kind: name of the policy in `POLICY_REGISTRY`, and of the run's one phase.
        recipe: the experiment.
        out_dir: folder of the run.
        build_policy: gives the policy to train; torch's seed is the run's.
        build_transform: gives the transforms that training and control share, of the policy and its dataset.
        resume: checkpoint of this run to go on from.
        source: the dataset, if it is loaded already; or several, for a policy that leaves out of its loss what
            `<key>.dims` and `valid` say is not the body's.

    Raises:
        ValueError: if the dataset does not fit the model, or a checkpoint is missing or of another model.
    """
    folder = recipe.data.encoding_cache
    if folder is not None and not encodes_once(recipe.model):
        raise ValueError(
            f"data.encoding_cache={folder}: {kind} encodes anew in every epoch; leave it out, or let a context learn "
            "on features that stay, with model.context.freeze_base=true"
        )
    if source is None:
        source = load_dataset(recipe, decode=not encodes_once(recipe.model))
    elif not isinstance(source, DatasetMixture):
        check_fits(recipe.model, source)
    training = recipe.training
    with distributed.process_group() as device:
        torch.manual_seed(training.seed)
        policy = build_policy().to(device)
        transform = build_transform(policy, source)
        if isinstance(source, DatasetMixture):
            loader, validation = mixed_batches(source, policy.windows(), recipe, training, transform)
        else:
            data, windows = encoded_once(policy, source, recipe, transform, resume)
            loader, validation = build_batches(data, windows, recipe, training, transform, window_ends(policy))
        return fit(
            policy,
            loader,
            training,
            out_dir,
            bundle=lambda weights: make_bundle(kind, policy, transform, source, weights, recipe),
            prepare=preparation(recipe.transform, transform),
            validation=validation,
            phase=kind,
            resume=resume,
        )


def encodes_once(model: Any) -> bool:
    """Whether a model's config says that a context learns on features that stay as they are."""
    context = getattr(model, "context", None)
    return context is not None and context.freeze_base


def encoded_once(
    policy: Any,
    source: EpisodeSource,
    recipe: Recipe,
    transform: TransformPipeline,
    resume: str | Path | None = None,
) -> tuple[EpisodeSource, tuple[Window, ...]]:
    """What to train on, and the windows on it: the dataset, or its features where a context learns on frozen ones.

    Args:
        policy: to train; features are those of its weights, or of the checkpoint's.
        source: the dataset.
        recipe: the experiment.
        transform: what training does to observations.
        resume: checkpoint that training goes on from.

    Raises:
        ValueError: if features would differ between epochs.
    """
    windows, folder = training_windows(policy), recipe.data.encoding_cache
    if not encodes_once(recipe.model):
        return source, windows
    if resume is not None:
        load_weights(policy, Bundle.load(resume).weights, str(resume))
    shift_px = recipe.transform.applied_shift_px
    data = encode(source, base_of(policy), transform, recipe.training, folder=folder, shift_px=shift_px)
    return data, encoded_windows(windows)


def make_bundle(
    kind: str,
    policy: Any,
    transform: TransformPipeline,
    source: EpisodeSource | DatasetMixture,
    weights: Mapping[str, Tensor],
    recipe: Recipe,
) -> Bundle:
    """What to deploy."""
    return Bundle(
        kind,
        config_to_json(policy.config),
        transform.own_windows(policy.windows()),
        source.embodiment,
        transform.to_json(),
        weights,
        mixture_provenance(source, recipe) if isinstance(source, DatasetMixture) else provenance(source, recipe),
        transform.assets(),
    )
