"""Offline evaluation: errors of a checkpoint's action chunks on demonstrations that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tempovla.control.controller import Actor, Controller
from tempovla.control.load_actor import open_policy
from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.data.stream_keys import raw_state
from tempovla.model.vla.registry import check_body, check_has_learned_to_act, check_is_policy
from tempovla.objective.reduce import RunningMean
from tempovla.recipe.datasets.config import MemberConfig
from tempovla.recipe.datasets.dataset import Streams, load_dataset, split_source
from tempovla.recipe.datasets.dataset_mixture import open_member
from tempovla.recipe.datasets.same_body import check_same_body, remedied_by_another_dataset
from tempovla.recipe.progress import CountProgress
from tempovla.recipe.systems.registry import recipe_of
from tempovla.timeline import Bundle, Embodiment, TimelineSample, Window
from tempovla.timeline.arguments import brief, path_argument, whole_number
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.keys import ACTION_KEY
from tempovla.transform.align import AlignStreams
from tempovla.transform.pipeline import TransformPipeline

FIGURES = ("mse", "mse_normalized", "mse_relative")
LARGEST_ROUNDING = 1e-12
"""Variances below this share of the mean square are those of equal numbers."""
Split = Literal["validation", "all"]
LIBERO_NAMES = ("x", "y", "z", "rx", "ry", "rz", "gripper")
"""Names of an arm that is moved by its hand; those of LIBERO's body are long and include units."""


class ChunkErrors:
    """Means over every valid step of every chunk.

    Attributes:
        squared: (A,) squared errors in the robot's units.
        squared_normalized: (A,) as the model sees actions.
        wanted, wanted_squared: (A,) the demonstrated actions and their squares, in the robot's units.
        gripper_hits: () share of steps at which the last dimension has the right sign.
    """

    def __init__(self) -> None:
        self.squared, self.squared_normalized, self.gripper_hits = RunningMean(), RunningMean(), RunningMean()
        self.wanted, self.wanted_squared = RunningMean(), RunningMean()

    @property
    def of_mean_action(self) -> Tensor:
        """(A,) squared errors of the demonstrations' mean action; 0 where actions never vary."""
        raw, mean = self.wanted_squared.mean, self.wanted.mean
        variance = raw - mean.square()
        return torch.where(variance > LARGEST_ROUNDING * raw, variance, 0.0)


def evaluate_offline(
    checkpoint: str | Path,
    *,
    data: str | Path | None = None,
    dataset_name: str | None = None,
    split: Split = "validation",
    batch_size: int = 64,
    device: str | None = None,
) -> dict[str, Any]:
    """Predict the action chunk at every step of the episodes, and compare it with the demonstrated one.

    The noise of each prediction follows from the number of its sample: the figures repeat exactly.

    Args:
        checkpoint: folder that training saved, or a file that was exported of it.
        data: the dataset, if it has moved since training.
        dataset_name: name of the dataset, for a policy that learned from several.
        split: `validation` takes the episodes that the checkpoint's own recipe held out, `all` every one.
        batch_size: samples predicted at a time.
        device: where it predicts, `cpu` or `cuda`; None takes CUDA where there is one.

    Returns:
        `dimensions`, by name `mse` in the robot's units, `mse_normalized`, and `mse_relative`, which is `mse` over that
        of always answering the mean of the demonstrated actions (None where they never vary); the means of the three
        over all dimensions; where the policy has a gripper, `motion`, their means over the others, and
        `gripper_accuracy`; `episodes`, `samples`, and `steps`, which were compared.

    Raises:
        ValueError: if the checkpoint is broken, of phase 1 or predicts actions that are not finite, the dataset is
            missing, does not fit it or is of another control rate or order of dimensions, nothing was held out, or
            there is no such device.
    """
    batch_size = whole_number("batch_size", batch_size, least=1)
    if split not in get_args(Split):
        raise ValueError(f"split={brief(split)} is unknown; choose from {', '.join(get_args(Split))}")
    if data is not None:
        path_argument("data", data, "the dataset")
    opened = open_policy(checkpoint, dataset_name, device=device)
    bundle = opened.bundle
    check_is_policy(bundle, str(checkpoint))
    check_body(bundle, str(checkpoint))
    mixture = _samples(bundle, str(checkpoint), data, split)
    transform = TransformPipeline.of(bundle)
    errors = _errors(opened.actor(), bundle.windows, transform, mixture, batch_size)
    mse, normalized = errors.squared.mean, errors.squared_normalized.mean
    if not torch.isfinite(torch.cat([mse, normalized])).all():
        raise ValueError(
            f"{checkpoint}: predicts actions that are not finite numbers; give an earlier checkpoint of the run, or "
            "train again with a lower training.learning_rate"
        )
    has_gripper = _has_gripper(bundle, str(checkpoint))
    names, rows = dimension_names(bundle.embodiment), _rows(errors)
    return {
        "checkpoint": str(checkpoint),
        **({"dataset_name": bundle.provenance["dataset_name"]} if "dataset_name" in bundle.provenance else {}),
        "split": split,
        "episodes": len(np.unique(mixture.locate(0, np.arange(mixture.lengths[0]))[0])),
        "samples": sum(mixture.lengths),
        "steps": errors.squared.count,
        "dimensions": dict(zip(names, rows, strict=True)),
        **_means(rows),
    } | ({"motion": _means(rows[:-1]), "gripper_accuracy": float(errors.gripper_hits.mean)} if has_gripper else {})


def _rows(errors: ChunkErrors) -> list[dict[str, float | None]]:
    """The figures of each dimension."""
    columns = (errors.squared.mean, errors.squared_normalized.mean, errors.of_mean_action)
    return [
        {"mse": mse, "mse_normalized": normalized, "mse_relative": mse / of_mean if of_mean else None}
        for mse, normalized, of_mean in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _means(rows: list[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean of each figure over the dimensions that have it."""
    found = {key: [row[key] for row in rows if row[key] is not None] for key in FIGURES}
    return {key: sum(values) / len(values) if values else None for key, values in found.items()}  # type: ignore[arg-type]


def _member(bundle: Bundle, recipe: Any) -> MemberConfig | None:
    """What the recipe says of the dataset that was chosen of several."""
    name = bundle.provenance.get("dataset_name")
    return next((member for member in recipe.data.mixture if member.key == name), None)


def _has_gripper(bundle: Bundle, where: str) -> bool:
    told = bundle.provenance.get("has_gripper", bundle.config.get("has_gripper"))  # an exported file has no config
    return bool(Streams.of(recipe_of(bundle, where).model).has_gripper if told is None else told)


def dimension_names(body: Embodiment) -> tuple[str, ...]:
    """Return the body's own names of its action dimensions, LIBERO's in short; numbers where it names none.

    Names that occur more than once get numbers.
    """
    names = LIBERO_NAMES if body.action_names == LIBERO_PANDA.action_names else body.action_names
    numbered = tuple(f"action {index}" for index in range(body.action_dim))
    if not names:
        return numbered
    return tuple(
        name if names.count(name) == 1 else f"{name} ({number})" for name, number in zip(names, numbered, strict=True)
    )


def _samples(bundle: Bundle, where: str, data: str | Path | None, split: str) -> Mixture:
    """What to compare on."""
    check_has_learned_to_act(bundle, where)
    recipe = recipe_of(bundle, where)
    member = _member(bundle, recipe)
    folder = str(data or (member.data_directory if member else recipe.data.data_directory))
    if not folder:
        raise ValueError(f"{where}: does not say where its dataset is; name it with data=FOLDER")
    if data is None and not Path(folder).exists():
        raise ValueError(
            f"{folder}: no such file or folder, though {where} was trained on it; name it with data=FOLDER"
        )
    with remedied_by_another_dataset(where):
        if member is not None:
            source = open_member(replace(member, data_directory=folder), recipe).source
        else:
            recipe = replace(recipe, data=replace(recipe.data, data_directory=folder, preload_bytes=0))
            source = load_dataset(recipe)
    check_same_body(where, bundle.embodiment, source, reads_state=Streams.of(recipe.model).robot_state_dim is not None)
    source = raw_state(source)  # observations are given as control gives them
    if split == "all":
        return Mixture([source])
    trained_on = bundle.provenance.get("episodes")
    if trained_on != len(source):
        raise ValueError(
            f"{folder}: has {len(source)} episodes, not the {trained_on} that {where} was trained with, so which of "
            "them were held out is unknown; use split='all'"
        )
    validation = split_source(source, recipe)[1]
    if validation is None:
        raise ValueError(
            f"{where}: trained on all episodes (data.train_split={recipe.data.train_split}), none is held out; use "
            "split='all'"
        )
    return validation


def _errors(
    actor: Actor, windows: tuple[Window, ...], transform: TransformPipeline, mixture: Mixture, batch_size: int
) -> ChunkErrors:
    errors = ChunkErrors()
    for sample in _watched(_batches(mixture, windows, batch_size), mixture.lengths[0]):
        demonstrated = sample.future[ACTION_KEY]
        if isinstance(actor, Controller):
            predicted, as_seen, target = _predict(actor, sample)
        else:
            predicted, as_seen, target = _predict_in_units(actor, transform, sample)
        valid, wanted = (part[:, : predicted.shape[1]] for part in (demonstrated.valid, demonstrated.value))
        errors.squared.add((predicted - wanted.double()).square(), valid)
        errors.squared_normalized.add((as_seen - target).square(), valid)
        errors.wanted.add(wanted.double(), valid)
        errors.wanted_squared.add(wanted.double().square(), valid)
        errors.gripper_hits.add((predicted[..., -1] > 0) == (wanted[..., -1] > 0), valid)
    return errors


def _watched(batches: Iterator[TimelineSample], samples: int) -> Iterator[TimelineSample]:
    with CountProgress("samples", samples) as progress:
        for sample in batches:
            yield sample
            progress.advance(sample.batch_size)


def _batches(mixture: Mixture, windows: tuple[Window, ...], batch_size: int) -> Iterator[TimelineSample]:
    """Every sample once, in order, its number being its seed."""
    for start in range(0, mixture.lengths[0], batch_size):
        index = np.arange(start, min(start + batch_size, mixture.lengths[0]))
        yield collate(mixture, windows, SampleBatch(np.zeros_like(index), index, torch.from_numpy(index)))


@torch.inference_mode()
def _predict(controller: Controller, sample: TimelineSample) -> tuple[Tensor, Tensor, Tensor]:
    """Chunks (B, H, A) float64 in the robot's units and as the model sees them, and what it should have seen.

    All are of the body's own dimensions.
    """
    transform = controller.transform
    context, future = transform.forward(sample.context.to(controller.device), sample.future)
    state = controller.with_seeds(controller.initial_state(sample.batch_size), sample.seed.tolist())
    chunk, _ = controller.decide(context, state)
    target = chunk.with_value(future[ACTION_KEY].value[:, : chunk.length])
    unpad = TransformPipeline([step for step in transform.steps if isinstance(step, AlignStreams)]).inverse
    parts = (transform.inverse(chunk), unpad(chunk), unpad(target))
    return tuple(part.value.cpu().double() for part in parts)  # type: ignore[return-value]


def _predict_in_units(
    actor: Actor, transform: TransformPipeline, sample: TimelineSample
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_predict`, of an exported file, which gives actions in the robot's units alone."""
    state = actor.with_seeds(actor.initial_state(sample.batch_size), sample.seed.tolist())
    chunk, _ = actor.act(sample.context, state)
    pair = (chunk, sample.future[ACTION_KEY])
    seen = [transform.forward(sample.context, {ACTION_KEY: actions})[1][ACTION_KEY] for actions in pair]
    as_seen, target = (actions.value[:, : chunk.length].double() for actions in seen)
    return chunk.value.double(), as_seen, target
