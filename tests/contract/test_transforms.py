"""Laws 6 and 8 over every transform."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import recordings
from tests.contract.registry import TRANSFORMS
from tests.contract.samples import random_sample
from tests.contract.toys import ACTION, FRONT, STATE
from tests.contract.transform_cases import CLOUD, DEPTH
from tests.fuzz.variants import variants

from tempovla.control.context_builder import ContextBuilder
from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.timeline import Transform, Window, laws
from tempovla.transform.pipeline import TransformPipeline

WINDOWS = (
    Window(STATE, (-1, 0, 1)),
    Window(FRONT, (-1, 0, 1)),
    Window(DEPTH, (-1, 0, 1)),
    Window(ACTION, (-2, -1, 0, 1, 2, 3)),
)
POINTS = Window(CLOUD, (-1, 0))
SHAPES = {STATE: (3,), FRONT: (16, 16, 3), DEPTH: (16, 16, 1), ACTION: (2,), CLOUD: (9, 4)}
OF_VEHICLES = {"waypoints": 3}
"""Dimensions of the actions of transforms that take no others."""


@pytest.fixture(params=sorted(TRANSFORMS))
def name(request):
    return request.param


@pytest.fixture
def transform(name):
    return TRANSFORMS[name]()


@pytest.fixture
def sample(name):
    shapes = SHAPES | ({ACTION: (OF_VEHICLES[name],)} if name in OF_VEHICLES else {})
    return random_sample((*WINDOWS, POINTS), shapes)


def test_it_keeps_the_protocol(transform):
    assert isinstance(transform, Transform)


def test_actions_come_back(name, transform, sample):
    """Behind a gap waypoints are not known, so that there the steps do not come back."""
    laws.check_inverse(transform, sample if name in OF_VEHICLES else laws.with_gaps(sample))


def test_training_and_rollout_see_the_same(transform, sample):
    laws.check_parity(transform, laws.with_gaps(sample))


def test_the_loader_and_a_rollout_build_the_same_observation_of_the_same_frames(name, transform, tmp_path):
    """At every step of an episode, its start included."""
    features = recordings.FEATURES | {DEPTH: recordings.DISTANCES}
    if name in OF_VEHICLES:
        features = features | {ACTION: replace(features[ACTION], shape=(OF_VEHICLES[name],))}
    recordings.record(tmp_path / "data", lengths=(7,), features=features)
    source = open_dataset(tmp_path / "data")
    batch = SampleBatch(np.zeros(7, dtype=np.int64), np.arange(7), torch.arange(7))
    sample = collate(Mixture([source]), WINDOWS, batch)

    actions = source.read(0, ACTION, range(7)).value
    frames = [{key: source.read(0, key, [step]).value[0] for key in (STATE, FRONT, DEPTH)} for step in range(7)]
    builder = ContextBuilder(WINDOWS, source.embodiment, num_rows=1)
    builder.reset(0, source.episode(0).instruction, frames[0])
    contexts = [builder.context()]
    for action, frame in zip(actions[:-1], frames[1:], strict=True):
        builder.add(0, action[None], frame)
        contexts.append(builder.context())
    laws.check_parity(transform, sample, contexts)


def test_a_file_with_a_value_of_another_kind_is_refused_or_works(transform, sample):
    """Whatever in its JSON is of another kind, it fails in one line when it is read or used, and never otherwise."""
    pipeline = transform if isinstance(transform, TransformPipeline) else TransformPipeline([transform])
    assets, count, refusals = pipeline.assets(), 0, []
    for _, changed in variants(pipeline.to_json(), alike=1):
        count += 1
        try:
            TransformPipeline.from_json(changed, assets).forward(sample.context, sample.future)
        except ValueError as error:
            refusals.append(str(error))
    assert not [line for line in refusals if "\n" in line]
    assert 2 * len(refusals) > count
