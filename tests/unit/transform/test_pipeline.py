import json

import numpy as np
import pytest
import torch

from tempovla.timeline import ActionChunk, Context, Embodiment, Task, TimelineSample, Track
from tempovla.transform.blind import BlankImages
from tempovla.transform.gripper import RemapGripper
from tempovla.transform.image import CropImages, ResizeImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TRANSFORM_REGISTRY, TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder
from tempovla.transform.tokenize import TokenizeInstruction, WordTokenizer

FRONT = "observation.images.front"


def normalize(mean, std):
    statistics = {"action": {"mean": np.array([mean]), "std": np.array([std])}}
    return Normalize.fit(statistics, {"action": NormalizationConfig()})


def pipeline():
    return TransformPipeline([ResizeImages(4), normalize(1.0, 2.0), EmbedInstruction(HashedNgramEmbedder(16))])


def sample():
    task = tuple(Task(words, Embodiment("arm", 1, 1, 10.0)) for words in ("open the door", "push"))
    image = torch.randint(0, 256, (2, 1, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    context = Context({}, {FRONT: Track.of(image, (0,))}, task, torch.zeros(2, dtype=torch.bool))
    return TimelineSample(context, {"action": Track.of(torch.tensor([[[3.0]], [[1.0]]]), (0,))}, torch.tensor([1, 2]))


def test_steps_run_in_order_and_back_in_reverse():
    twice = TransformPipeline([normalize(1.0, 2.0), normalize(0.5, 0.25)])
    action = twice.forward_sample(sample()).future["action"]
    assert action.value.flatten().tolist() == [2.0, -2.0]  # ((3 - 1) / 2 - 0.5) / 0.25
    assert twice.inverse(ActionChunk(**vars(action))).value.flatten().tolist() == [3.0, 1.0]


def test_training_and_control_see_the_same_context():
    trained, acted = pipeline().forward_sample(sample()).context, pipeline().forward_context(sample().context)
    assert trained.now.keys() == acted.now.keys() == {FRONT, "language"}
    for key in trained.now:
        assert torch.equal(trained.now[key].value, acted.now[key].value)


def test_saved_as_json_it_does_the_same():
    restored = TransformPipeline.from_json(json.loads(json.dumps(pipeline().to_json())))
    before, after = (transform.forward_sample(sample()) for transform in (pipeline(), restored))
    assert torch.equal(before.future["action"].value, after.future["action"].value)
    for key in before.context.now:
        assert torch.equal(before.context.now[key].value, after.context.now[key].value)


def test_every_registered_transform_is_saved_under_its_name():
    first, last = BlankImages((FRONT,), 4), TokenizeInstruction(WordTokenizer(64), max_length=8)
    steps = [first, RemapGripper(-1.0, 1.0), CropImages(0.9), *pipeline().steps, last]
    names = [entry["name"] for entry in TransformPipeline(steps).to_json()["steps"]]
    expected = ["blank_images", "remap_gripper", "crop_images", "resize_images", "normalize"]
    assert names == [*expected, "embed_instruction", "tokenize_instruction"]
    assert set(names) == set(TRANSFORM_REGISTRY)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"steps": [{"name": "sharpen"}]}, r"transform 'sharpen' is unknown; registered are \['blank_images',"),
        ({"steps": [{"size": 4}]}, "transforms are not readable"),
        ({"steps": [{"name": "resize_images", "height": 4}]}, "transforms are not readable"),
        ({}, "transforms are not readable .*'steps'.*; copy the bundle again"),
    ],
)
def test_unreadable_transforms_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        TransformPipeline.from_json(data)
