"""Offline evaluation: errors of a checkpoint's action chunks, and of its predictions, on recorded episodes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tempovla.control.controller import Actor, Controller
from tempovla.control.load_actor import OpenedPolicy, open_policy
from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.model.vla.context_policy import base_of
from tempovla.model.vla.registry import check_body, check_is_policy
from tempovla.objective.reduce import RunningMean
from tempovla.recipe.datasets.streams import Streams
from tempovla.recipe.evaluation.demonstrations import demonstrations, learned_online
from tempovla.recipe.evaluation.open_loop.driving import drives, measure_driving
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.recipe.evaluation.predictions import lacking_streams, measure_predictions
from tempovla.recipe.progress import CountProgress
from tempovla.recipe.systems.registry import recipe_of
from tempovla.timeline import Bundle, Embodiment, PredictingPolicy, TimelineSample, Window
from tempovla.timeline.arguments import brief, path_argument, whole_number
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.keys import ACTION_KEY
from tempovla.transform.align import AlignStreams
from tempovla.transform.pipeline import TransformPipeline

LOGGER = logging.getLogger(__name__)

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
        predicted: chunks (B, H, A) in the robot's units of each batch, if they are kept.
    """

    def __init__(self) -> None:
        self.predicted: list[Tensor] = []
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
    horizon: int | None = None,
    videos: str | Path | None = None,
) -> dict[str, Any]:
    """Predict the action chunk at every step of the episodes, and compare it with the demonstrated one.

    A policy that has a world model also predicts what the recorded actions lead to. One that learned in a simulator
    has no demonstrations to be compared with, so that its predictions alone are measured. The noise of each action
    follows from the number of its sample: the figures repeat exactly.

    Args:
        checkpoint: folder that training saved, or a file that was exported of it.
        data: the dataset, if it has moved since training.
        dataset_name: name of the dataset, for a policy that learned from several.
        split: `validation` takes the episodes that the checkpoint's own recipe held out, `all` every one.
        batch_size: samples predicted at a time.
        device: where it predicts, `cpu` or `cuda`; None takes CUDA where there is one.
        horizon: control steps that a world model looks ahead; None takes 15, or fewer where all episodes are shorter.
        videos: folder for videos of some predictions, of a world model that decodes pictures, or for bird's eye views
            of some trajectories of a car.

    Returns:
        `predictions` of a policy that has a world model, see `measure_predictions`; and of one that did not learn in a
        simulator `dimensions`, by name `mse` in the robot's units, `mse_normalized`, and `mse_relative`, which is `mse`
        over that of always answering the mean of the demonstrated actions (None where they never vary); the means of
        the three over all dimensions; where the policy has a gripper, `motion`, their means over the others, and
        `gripper_accuracy`; `episodes`, `samples`, and `steps`, which were compared; and of a car `open_loop`, see
        `open_loop.figures.figures_of`.

    Raises:
        ValueError: if the checkpoint is broken, of phase 1 or predicts actions that are not finite, the dataset is
            missing, does not fit it or is of another control rate or order of dimensions, nothing was held out, or
            there is no such device; if a horizon or videos are asked for without a world model, or the horizon does
            not fit the episodes; or if the videos cannot be written.
    """
    batch_size = whole_number("batch_size", batch_size, least=1)
    if split not in get_args(Split):
        raise ValueError(f"split={brief(split)} is unknown; choose from {', '.join(get_args(Split))}")
    if data is not None:
        path_argument("data", data, "the dataset")
    if horizon is not None:
        horizon = whole_number("horizon", horizon, least=1)
    outputs = Outputs(videos=videos)
    outputs.check(checkpoint)
    opened, where = open_policy(checkpoint, dataset_name, device=device), str(checkpoint)
    return _measured(opened, where, data, split, batch_size, horizon, outputs.videos)


def _measured(
    opened: OpenedPolicy,
    where: str,
    data: str | Path | None,
    split: str,
    batch_size: int,
    horizon: int | None,
    videos: str | Path | None,
) -> dict[str, Any]:
    """The figures of `evaluate_offline`, whose arguments are checked."""
    bundle = opened.bundle
    check_is_policy(bundle, where)
    check_body(bundle, where)
    recipe = recipe_of(bundle, where)
    mixture = demonstrations(bundle, recipe, where, data, split)
    actor, transform = opened.actor(), TransformPipeline.of(bundle)
    car = drives(bundle.embodiment)
    world = _world_of(actor, transform, where, is_asked_for=horizon is not None or (videos is not None and not car))
    facts = {
        "checkpoint": where,
        **({"dataset_name": bundle.provenance["dataset_name"]} if "dataset_name" in bundle.provenance else {}),
        "split": split,
        "episodes": len(np.unique(mixture.locate(0, np.arange(mixture.lengths[0]))[0])),
    }
    if not learned_online(recipe):
        errors = _errors(actor, bundle.windows, transform, mixture, batch_size, keeps=car)
        facts |= _action_figures(errors, bundle, mixture, where)
        if car:
            steps = torch.cat(errors.predicted).numpy()
            facts["open_loop"] = measure_driving(actor, mixture, steps, batch_size=batch_size, pictures=videos)
    elif world is None:
        raise ValueError(
            f"{where}: learned in a simulator, and has no world model to measure; evaluate it there, with `tempovla "
            f"eval {recipe.online.env}`"
        )
    if world is not None:
        facts["predictions"] = measure_predictions(
            world, transform, mixture, where, horizon=horizon, videos=videos, device=opened.device
        )
    return facts


def _world_of(actor: Actor, transform: TransformPipeline, where: str, *, is_asked_for: bool) -> PredictingPolicy | None:
    """The policy if it has a world model for which the dataset has all streams.

    Raises:
        ValueError: if it has none, though its predictions are asked for.
    """
    acts: Any = actor.policy if isinstance(actor, Controller) else None
    policy = base_of(acts)
    if not isinstance(policy, PredictingPolicy):
        if is_asked_for:
            raise ValueError(f"{where}: has no world model to predict with; leave out the horizon and the videos")
        return None
    lacking = lacking_streams(transform, policy)
    if not lacking:
        return policy
    told = f"the world model of {where} reads {', '.join(lacking)}, which this dataset does not have"
    if is_asked_for:
        raise ValueError(f"{told}; name another one with data=FOLDER")
    LOGGER.warning("%s, so its predictions are not measured", told)
    return None


def _action_figures(errors: ChunkErrors, bundle: Bundle, mixture: Mixture, where: str) -> dict[str, Any]:
    """Errors of the action chunks, by dimension and over all of them."""
    mse, normalized = errors.squared.mean, errors.squared_normalized.mean
    if not torch.isfinite(torch.cat([mse, normalized])).all():
        raise ValueError(
            f"{where}: predicts actions that are not finite numbers; give an earlier checkpoint of the run, or "
            "train again with a lower training.learning_rate"
        )
    names, rows = dimension_names(bundle.embodiment), _rows(errors)
    figures: dict[str, Any] = {
        "samples": sum(mixture.lengths),
        "steps": errors.squared.count,
        "dimensions": dict(zip(names, rows, strict=True)),
        **_means(rows),
    }
    if _has_gripper(bundle, where):
        figures |= {"motion": _means(rows[:-1]), "gripper_accuracy": float(errors.gripper_hits.mean)}
    return figures


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


def _errors(
    actor: Actor,
    windows: tuple[Window, ...],
    transform: TransformPipeline,
    mixture: Mixture,
    batch_size: int,
    keeps: bool = False,
) -> ChunkErrors:
    errors = ChunkErrors()
    for sample in _watched(_batches(mixture, windows, batch_size), mixture.lengths[0]):
        demonstrated = sample.future[ACTION_KEY]
        if isinstance(actor, Controller):
            predicted, as_seen, target = _predict(actor, sample)
        else:
            predicted, as_seen, target = _predict_in_units(actor, transform, sample)
        if keeps:
            errors.predicted.append(predicted)
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
