"""What a model reads of datasets, as its transforms give it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from tests import recordings
from tests.unit.recipe.datasets.reading import ACTION, DEPTH, FORCE, FRONT, STATE, Config, Deep

from tempovla.data.lerobot import open_dataset
from tempovla.recipe.datasets.config import DataConfig, MemberConfig, ObservationConfig
from tempovla.recipe.datasets.dataset import observation_transforms
from tempovla.recipe.datasets.dataset_mixture import load_demonstrations
from tempovla.recipe.datasets.statistics import needed_statistics
from tempovla.recipe.datasets.streams import Streams
from tempovla.timeline import Window
from tempovla.training.config import TrainConfig
from tempovla.transform.pipeline import TransformPipeline


def test_vectors_beside_the_state_are_normalised_like_it(tmp_path):
    settings = ObservationConfig(state_normalization="min_max")
    assert needed_statistics(settings, Config(), True, Streams.of(Config()).vectors) == {
        ACTION: ("mean", "std"),
        STATE: ("min", "max"),
        FORCE: ("min", "max"),
    }
    features = {FORCE: recordings.FEATURES[STATE], **{key: recordings.FEATURES[key] for key in (STATE, ACTION, FRONT)}}
    recordings.record(tmp_path, features=features)
    _, normalize = observation_transforms(ObservationConfig(), Config(), 8, open_dataset(tmp_path))
    assert list(normalize.offset) == [STATE, FORCE, ACTION]


@dataclass(frozen=True)
class Recipe:
    data: DataConfig
    model: Config = field(default_factory=Config)
    transform: ObservationConfig = field(default_factory=ObservationConfig)
    training: TrainConfig = field(default_factory=TrainConfig)


def test_of_several_datasets_each_normalises_the_vectors_by_its_own_statistics(tmp_path):
    features = {FORCE: recordings.FEATURES[STATE], **{key: recordings.FEATURES[key] for key in (STATE, ACTION, FRONT)}}
    for name, lengths in (("left", (5, 5)), ("right", (9,))):
        recordings.record(tmp_path / name, lengths, features)
    recipe = Recipe(DataConfig(mixture=tuple(MemberConfig(str(tmp_path / name)) for name in ("left", "right"))))
    data = load_demonstrations(recipe)
    windows = [Window(key, (0,)) for key in (STATE, FORCE, FRONT, ACTION)]
    (step,) = data.observation_steps(recipe.transform, recipe.model, windows, 8)
    for member in data.members:
        _, normalize = step.views[member.name].steps.steps
        mean = member.source.statistics[FORCE]["mean"]
        np.testing.assert_allclose(normalize.offset[FORCE].numpy(), mean, rtol=1e-6)
    recordings.record(tmp_path / "plain")
    with pytest.raises(ValueError, match=r"no stream 'observation.force'"):
        load_demonstrations(Recipe(DataConfig(mixture=(MemberConfig(str(tmp_path / "plain")),))))


def test_depth_is_resized_beside_pictures_and_not_normalised(tmp_path):
    recordings.record(tmp_path / "data", (5,), recordings.FEATURES | {DEPTH: recordings.DISTANCES})
    recipe = Recipe(DataConfig(data_directory=str(tmp_path / "data")), Deep())
    data = load_demonstrations(recipe)
    windows = (Window(STATE, (0,)), Window(FRONT, (0,)), Window(DEPTH, (0,)), Window(ACTION, (0, 1)))
    for settings, seen in ((ObservationConfig(), True), (ObservationConfig(blind=True), False)):
        steps = TransformPipeline(list(data.observation_steps(settings, Deep(), windows, 8)))
        batch = next(iter(data.batches(windows, recipe, TrainConfig(batch_size=2), steps)[0]))
        depth = steps.joined.forward_sample(batch).context.now[DEPTH].value
        assert depth.shape == (2, 1, 1, 8, 8)
        assert bool(depth.any()) is seen
        assert not seen or depth.min() >= 0.5  # the holes in the first row are no part of a mean


def test_of_several_datasets_each_must_have_the_depth(tmp_path):
    recordings.record(tmp_path / "left", (5,), recordings.FEATURES | {DEPTH: recordings.DISTANCES})
    recordings.record(tmp_path / "right", (7,), recordings.FEATURES | {DEPTH: recordings.DISTANCES})
    recordings.record(tmp_path / "without", (5,))
    members = [MemberConfig(str(tmp_path / name)) for name in ("left", "right", "without")]
    recipe = Recipe(DataConfig(mixture=tuple(members[:2])), Deep())
    data = load_demonstrations(recipe)
    windows = (Window(STATE, (0,)), Window(FRONT, (0,)), Window(DEPTH, (0,)), Window(ACTION, (0, 1)))
    steps = TransformPipeline(list(data.observation_steps(recipe.transform, Deep(), windows, 8)))
    batch = next(iter(data.batches(windows, recipe, TrainConfig(batch_size=4), steps)[0]))
    assert batch.context.now[DEPTH].value.shape == (4, 1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"without: has no depth 'observation\.depth\.front', which"):
        load_demonstrations(Recipe(DataConfig(mixture=tuple(members)), Deep()))
