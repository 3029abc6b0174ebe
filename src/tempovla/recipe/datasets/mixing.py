"""One policy from several datasets: their rows in one form, their batches, and what the bundle says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tempovla.data.joined import forms_of
from tempovla.data.loader import SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.split import split_episodes
from tempovla.recipe.datasets.config import ObservationConfig
from tempovla.recipe.datasets.dataset import (
    FixedBatches,
    Recipe,
    Streams,
    build_loader,
    dataset_facts,
    observation_transforms,
    raw_observations,
    run_facts,
)
from tempovla.recipe.datasets.members import DatasetMixture
from tempovla.timeline import EpisodeSource, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.train.config import TrainConfig
from tempovla.transform.align import AlignStreams, MissingStream, Padding
from tempovla.transform.join import JoinStreams, raw_size
from tempovla.transform.pipeline import DatasetView, PerDataset, TransformPipeline


def mixture_transform(
    settings: ObservationConfig,
    model: Streams,
    windows: Sequence[Window],
    mixture: DatasetMixture,
    image_size: int,
    *,
    resize: bool = True,
) -> PerDataset:
    """Every dataset's rows, normalised by its own statistics, in the form of the model: its cameras and its sizes.

    Without `resize` pictures keep their shape, which must then be one.

    Raises:
        ValueError: if pictures differ in shape, and are not resized.
    """
    shape = (3, image_size, image_size)
    if not (resize or settings.blind):
        (height, width, _), *others = {
            member.source.streams[key].shape for member in mixture.members for key in member.own_cameras
        }
        if others:
            raise ValueError(
                f"data.mixture: pictures of {[height, width]} and of {list(others[0][:2])} px make no batch unless "
                "they are resized; set vision.resize=stretch"
            )
        shape = (3, height, width)
    offsets = {window.key: window.offsets for window in windows}
    views = {}
    for member in mixture.members:
        own = member.streams(model)
        steps = observation_transforms(settings, own, image_size, member.source, resize=resize)
        padding = {
            key: Padding.of(member.dim(key), width, gripper=key == ACTION_KEY and member.has_gripper)
            for key, width in mixture.widths(model).items()
        }
        names = {own: key for key, own in member.cameras.items() if own is not None and own != key}
        missing = {key: MissingStream(shape, offsets[key]) for key, own in member.cameras.items() if own is None}
        align = AlignStreams(names, missing, padding)
        join = next(iter(raw_observations(own, member.source)), JoinStreams())
        views[member.name] = DatasetView(member.source.embodiment, TransformPipeline(steps), align, join)
    return PerDataset(views)


def mixed_batches(
    mixture: DatasetMixture,
    windows: Sequence[Window],
    recipe: Recipe,
    training: TrainConfig,
    transform: TransformPipeline,
) -> tuple[SampleLoader, FixedBatches | None]:
    """Training batches, drawn by weight; and equally many for validation of each dataset where episodes are held out.

    Each dataset is split by itself, as it would be alone.
    """
    views = next(dict(step.views) for step in transform.steps if isinstance(step, PerDataset))
    held_out = round(1.0 - recipe.data.train_split, 9)
    splits = [split_episodes(len(member.source), held_out, training.seed) for member in mixture.members]
    sources, weights = zip(*((member.source, member.weight) for member in mixture.members), strict=True)
    together = Mixture(sources, weights, [training for training, _ in splits], views)
    validation = [
        Mixture([member.source], episodes=[episodes], views={member.name: views[member.name]})
        for member, (_, episodes) in zip(mixture.members, splits, strict=True)
        if episodes
    ]
    fixed = FixedBatches(validation, windows, recipe, training, transform) if validation else None
    return build_loader(together, windows, recipe, training), fixed


def _raw_state(source: EpisodeSource) -> dict[str, int]:
    """How many dimensions a raw observation of the state has, where the policy reads others."""
    dim = source.embodiment.state_dim
    raw = raw_size(forms_of(source, STATE_KEY), STATE_KEY, dim)
    return {} if raw == dim else {"raw_state_dim": raw}


def mixture_provenance(mixture: DatasetMixture, recipe: Recipe) -> dict[str, Any]:
    """How a policy came to be, for its bundle; under `datasets`, by name, what a policy of one dataset says of it."""
    datasets = {
        member.name: dataset_facts(member.source)
        | {"embodiment": member.source.embodiment.to_json(), "has_gripper": member.has_gripper}
        | _raw_state(member.source)
        for member in mixture.members
    }
    facts = {
        "dataset": ", ".join(member.source.name for member in mixture.members),
        "episodes": sum(len(member.source) for member in mixture.members),
        "instructions": sorted({words for facts in datasets.values() for words in facts["instructions"]}),
        "datasets": datasets,
    }
    return facts | run_facts(recipe)
