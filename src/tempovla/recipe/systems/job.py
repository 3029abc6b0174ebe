"""The training of all systems: a job, and the imitation of demonstrations as a job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.vla.context_policy import base_of
from tempovla.model.vla.weights import load_weights
from tempovla.objective import Objective
from tempovla.recipe.datasets.dataset import Recipe, preparation
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, one_dataset
from tempovla.timeline import Bundle, EpisodeSource, TimelineSample, training_windows, window_ends
from tempovla.timeline.config import config_to_json
from tempovla.training import distributed
from tempovla.training.callback import Callback
from tempovla.training.config import TrainConfig
from tempovla.training.fit import fit
from tempovla.training.precision import settle_precision
from tempovla.training.result import FitResult
from tempovla.training.stream import BatchStream
from tempovla.transform.pipeline import TransformPipeline

TOO_LARGE = ("DefaultCPUAllocator: can't allocate memory", "Storage size calculation overflowed")
"""Parts of what torch says of a tensor that does not fit into memory."""


@dataclass(frozen=True)
class TrainJob:
    """One run of training, whatever the system: the arguments of `fit` beside its settings.

    Attributes:
        policy: the policy to train; `fit` explains all of these.
        batches: training data as the dataset gives it.
        bundle: builds the bundle to deploy from the weights.
        prepare: transforms and augmentation of a training batch.
        validation: prepared batches.
        objective: reduces the policy's loss terms.
        callback: receives the train step and its figures.
        phase: name of the training phase in metrics and messages.
        follows_length: entries of the run's identity that its length decides.
    """

    policy: nn.Module
    batches: BatchStream
    bundle: Callable[[Mapping[str, Tensor]], Bundle]
    prepare: Callable[[TimelineSample], TimelineSample] = lambda sample: sample
    validation: Iterable[TimelineSample] | None = None
    objective: Objective = field(default_factory=Objective)
    callback: Callback | None = None
    phase: str = "train"
    follows_length: Collection[str] = ()

    def run(self, training: TrainConfig, out_dir: str | Path, resume: str | Path | None = None) -> FitResult:
        """Train to the end of the schedule in `out_dir`; see `fit` for what is raised."""
        return fit(
            self.policy,
            self.batches,
            training,
            out_dir,
            bundle=self.bundle,
            prepare=self.prepare,
            validation=self.validation,
            objective=self.objective,
            callback=self.callback,
            phase=self.phase,
            resume=resume,
            follows_length=self.follows_length,
        )


@dataclass(frozen=True)
class Imitation:
    """The parts of imitation learning that differ between systems.

    Attributes:
        kind: name of the policy in `POLICY_REGISTRY`.
        build_policy: returns the policy to train; torch is seeded with the run's seed.
        build_transform: returns the transforms that training and control share, from the policy and its datasets; None
            is `plain_transform`.
        phase: name of the training phase; None is the kind.
        encodes_once: whether a frozen encoder encodes all observations before the first step.
        facts: further entries of the bundle's provenance, beside data and recipe.
        objective: reduces the policy's loss terms.
        callback: builds the run's callback from the number of batches of an epoch.
        follows_length: entries of the run's identity that its length decides.
    """

    kind: str
    build_policy: Callable[[], Any]
    build_transform: Callable[[Any, DatasetMixture], TransformPipeline] | None = None
    phase: str | None = None
    encodes_once: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    objective: Objective = field(default_factory=Objective)
    callback: Callable[[int], Callback] | None = None
    follows_length: Collection[str] = ()

    def train(
        self,
        recipe: Recipe,
        data: DatasetMixture,
        out_dir: str | Path,
        *,
        training: TrainConfig | None = None,
        resume: str | Path | None = None,
    ) -> FitResult:
        """Train in `out_dir`.

        Args:
            recipe: the experiment.
            data: the demonstrations, checked against the model.
            out_dir: folder of the run.
            training: settings of the training; None takes the recipe's.
            resume: checkpoint of this run to go on from.

        Raises:
            ValueError: if the dataset does not fit the policy, or a checkpoint is missing or of another model.
        """
        retrieves = wants_library(recipe)
        with distributed.process_group() as device:
            training = settle_precision(training or recipe.training, device, resume)
            torch.manual_seed(training.seed)
            with told_if_too_large():
                policy = self.build_policy().to(device)
            build = self.build_transform or (lambda policy, data: plain_transform(recipe, policy, data))
            transform = build(policy, data)
            windows, encoded, library = training_windows(policy), None, None
            if retrieves and resume is None:  # a checkpoint of the run holds the library
                from tempovla.recipe.datasets.library import open_library

                library = open_library(policy, recipe, data)
            if self.encodes_once:
                from tempovla.recipe.datasets.encodings import encode, encoded_windows

                if resume is not None:
                    load_weights(policy, Bundle.load(resume).weights, str(resume))
                folder, shift_px = recipe.data.encoding_cache, recipe.transform.applied_shift_px
                encoded = encode(data.only, base_of(policy), transform, training, folder=folder, shift_px=shift_px)
                windows = encoded_windows(windows)
            if library is not None:
                from tempovla.recipe.datasets.library import fill_library

                fill_library(policy, transform, library, recipe.data.library)
            batches, validation = data.batches(windows, recipe, training, transform, window_ends(policy), encoded)
            job = TrainJob(
                policy,
                batches,
                lambda weights: self.bundle(policy, transform, data, weights, recipe),
                preparation(recipe.transform, transform),
                validation,
                self.objective,
                None if self.callback is None else self.callback(batches.batches_per_epoch),
                self.phase or self.kind,
                self.follows_length,
            )
            return job.run(training, out_dir, resume)

    def bundle(
        self,
        policy: Any,
        transform: TransformPipeline,
        data: DatasetMixture,
        weights: Mapping[str, Tensor],
        recipe: Recipe,
    ) -> Bundle:
        """Build the bundle to deploy."""
        return Bundle(
            self.kind,
            config_to_json(policy.config),
            transform.own_windows(policy.windows()),
            data.embodiment,
            transform.to_json(),
            weights,
            data.provenance(recipe) | dict(self.facts),
            transform.assets(),
        )


@contextmanager
def told_if_too_large() -> Iterator[None]:
    """Say of a model for which there is no memory that it is too large.

    Raises:
        ValueError: in one line.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as problem:
        out = isinstance(problem, MemoryError | torch.OutOfMemoryError)
        if not out and not any(words in str(problem) for words in TOO_LARGE):
            raise
        raise ValueError(
            "there is not enough memory for a model of this size; make its parts smaller, such as the widths "
            "and layers below model"
        ) from problem


def imitate(
    kind: str,
    recipe: Recipe,
    out_dir: str | Path,
    build_policy: Callable[[], Any],
    *,
    resume: str | Path | None = None,
    source: EpisodeSource | DatasetMixture | None = None,
) -> FitResult:
    """Train a policy that reads pictures, states and no words to imitate the recipe's dataset, in `out_dir`.

    Args:
        kind: name of the policy in `POLICY_REGISTRY`.
        recipe: the experiment.
        out_dir: folder of the run.
        build_policy: returns the policy to train; torch is seeded with the run's seed.
        resume: checkpoint of this run to go on from.
        source: the dataset, if it is loaded already.

    Raises:
        ValueError: if the dataset does not fit the model, or a checkpoint is missing or of another model.
    """
    return Imitation(kind, build_policy).train(recipe, one_dataset(source, recipe), out_dir, resume=resume)


def plain_transform(recipe: Recipe, policy: Any, data: DatasetMixture) -> TransformPipeline:
    """Return pictures of the model's `image_size`, if its config has one, and normalised states and actions."""
    size = getattr(recipe.model, "image_size", None)
    steps = data.observation_steps(recipe.transform, recipe.model, policy.windows(), size or 1, resize=size is not None)
    return TransformPipeline(list(steps))


def encodes_once(model: Any) -> bool:
    """Return whether a model's context learns on frozen features."""
    context = getattr(model, "context", None)
    return context is not None and context.freeze_base


def wants_library(recipe: Recipe) -> bool:
    """Return whether a policy looks up earlier episodes.

    Raises:
        ValueError: if it does and there is no library, or there is one for a policy that does not.
    """
    context, library = getattr(recipe.model, "context", None), recipe.data.library
    wanted = context is not None and context.retrieval is not None
    if library is not None and not wanted:
        raise ValueError(
            f"data.library={library}: this policy looks up no earlier episodes; leave it out, or set "
            "model.context.retrieval"
        )
    if library is None and wanted:
        raise ValueError(
            "model.context.retrieval looks up earlier episodes; give a dataset of some that are not trained on as "
            "data.library"
        )
    return wanted


def check_encoding_cache(kind: str, recipe: Recipe) -> None:
    """Refuse a folder for encodings if every epoch encodes anew.

    Raises:
        ValueError: naming the folder and the remedy.
    """
    folder = recipe.data.encoding_cache
    if folder is not None and not encodes_once(recipe.model):
        raise ValueError(
            f"data.encoding_cache={folder}: {kind} encodes anew in every epoch; leave it out, or let a context learn "
            "on features that stay, with model.context.freeze_base=true"
        )
