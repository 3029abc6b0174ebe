"""Laws 6 and 8 over every transform."""

import numpy as np
import pytest
import torch
from tests import recordings
from tests.contract.registry import DEPTH, TRANSFORMS
from tests.contract.samples import random_sample
from tests.contract.toys import ACTION, FRONT, STATE
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
SHAPES = {STATE: (3,), FRONT: (16, 16, 3), DEPTH: (16, 16, 1), ACTION: (2,)}


@pytest.fixture(params=sorted(TRANSFORMS))
def transform(request):
    return TRANSFORMS[request.param]()


def test_it_keeps_the_protocol(transform):
    assert isinstance(transform, Transform)


def test_actions_come_back(transform):
    laws.check_inverse(transform, laws.with_gaps(random_sample(WINDOWS, SHAPES)))


def test_training_and_rollout_see_the_same(transform):
    laws.check_parity(transform, laws.with_gaps(random_sample(WINDOWS, SHAPES)))


def test_the_loader_and_a_rollout_build_the_same_observation_of_the_same_frames(transform, tmp_path):
    """At every step of an episode, its start included."""
    recordings.record(tmp_path / "data", lengths=(7,), features=recordings.FEATURES | {DEPTH: recordings.DISTANCES})
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


def test_a_file_with_a_value_of_another_kind_is_refused_or_works(transform):
    """Whatever in its JSON is of another kind, it fails in one line when it is read or used, and never otherwise."""
    sample = random_sample(WINDOWS, SHAPES)
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
