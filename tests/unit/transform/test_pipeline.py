import json

import numpy as np
import pytest
import torch

from tempovla.timeline import ActionChunk, Bundle, Context, Embodiment, Task, TimelineSample, Track, Window
from tempovla.timeline.driving import LIDAR_KEY
from tempovla.transform.align import AlignStreams
from tempovla.transform.blind import BlankImages
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.gripper import RemapGripper
from tempovla.transform.image import CropImages, ResizeImages
from tempovla.transform.join import JoinStreams
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TRANSFORM_REGISTRY, DatasetView, PerDataset, TransformPipeline
from tempovla.transform.points import CropPoints, LimitPoints, ScalePoints
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer
from tempovla.transform.waypoints import Waypoints

FRONT = "observation.images.front"
ARM = Embodiment("arm", 1, 1, 10.0)


def normalize(mean, std):
    statistics = {"action": {"mean": np.array([mean]), "std": np.array([std])}}
    return Normalize.fit(statistics, {"action": NormalizationConfig()})


def pipeline():
    return TransformPipeline([ResizeImages(4), normalize(1.0, 2.0), EmbedInstruction(HashedNgramEmbedder(16))])


def two_arms():
    """The same arm, normalised in two ways."""
    views = {
        name: DatasetView(ARM, TransformPipeline([normalize(mean, 2.0)]), AlignStreams())
        for name, mean in (("one", 1.0), ("other", -3.0))
    }
    return PerDataset(views)


def sample(datasets=("", "")):
    words = ("open the door", "push")
    task = tuple(Task(instruction, ARM, dataset) for instruction, dataset in zip(words, datasets, strict=True))
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
    steps = [first, RemapGripper(-1.0, 1.0), CropImages(0.9), *pipeline().steps, last, AlignStreams(), two_arms()]
    steps += [JoinStreams(), ResizeDepth((FRONT,), 4), Waypoints(2.0), CropPoints(LIDAR_KEY, (0.0,), (1.0,))]
    steps += [LimitPoints(LIDAR_KEY, 4), ScalePoints(LIDAR_KEY, (1.0,))]
    names = [entry["name"] for entry in TransformPipeline(steps).to_json()["steps"]]
    expected = ["blank_images", "remap_gripper", "crop_images", "resize_images", "normalize"]
    assert names == [
        *expected,
        "embed_instruction",
        "tokenize_instruction",
        "align_streams",
        "per_dataset",
        "join_streams",
        "resize_depth",
        "waypoints",
        "crop_points",
        "limit_points",
        "scale_points",
    ]
    assert set(names) == set(TRANSFORM_REGISTRY)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"steps": [{"name": "sharpen"}]}, r"transform 'sharpen' is unknown; registered are .*'blank_images',"),
        ({"steps": [{"size": 4}]}, "transforms: not readable"),
        ({"steps": [{"name": "resize_images", "height": 4}]}, r"resize_images: keys \['height'\] are unknown"),
        ({}, "transforms: not readable .*'steps'.*; copy the bundle again"),
        ({"steps": [{"name": "resize_images", "size": 4}] * 2}, r"steps\[1\] is \{.*\} once more; a transform is"),
    ],
)
def test_unreadable_transforms_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        TransformPipeline.from_json(data)


def test_every_row_goes_through_the_view_of_its_dataset_and_back():
    raw = sample(("other", "one"))
    context, future = two_arms().forward(raw.context, raw.future)
    assert future["action"].value.flatten().tolist() == [3.0, 0.0]
    assert context.task == raw.context.task
    assert torch.equal(context.now[FRONT].value, raw.context.now[FRONT].value)
    chunk = ActionChunk(**vars(future["action"]), task=context.task)
    assert two_arms().inverse(chunk).value.flatten().tolist() == [3.0, 1.0]
    assert two_arms().inverse(chunk.rows(torch.tensor([1]))).value.flatten().tolist() == [1.0]
    restored = PerDataset.from_json(json.loads(json.dumps(two_arms().to_json())))
    assert restored.inverse(chunk).value.flatten().tolist() == [3.0, 1.0]


def test_rows_of_no_known_dataset_are_refused():
    raw = sample(("other", "third"))
    with pytest.raises(ValueError, match=r"learned from the datasets \['one', 'other'\], not 'third'; choose one"):
        two_arms().forward(raw.context, raw.future)


def test_what_is_left_to_do_to_joined_rows():
    words = TokenizeInstruction(WordTokenizer(64), max_length=8)
    assert TransformPipeline([two_arms(), words]).joined.steps == (words,)
    assert TransformPipeline([words]).joined.steps == (words,)


WORDS = {"kind": "words", "vocab_size": 64}
TOKENS = {"name": "tokenize_instruction", "tokenizer": WORDS, "max_length": 8}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ({}, r"steps is \{\}, not a list of transforms"),
        ([{"name": "resize_images", "size": -1}], "size=-1 of pictures must be a whole number from 1 to 8,192"),
        ([{"name": "resize_images", "size": 10**9}], "size=10{9} of pictures must be"),
        ([{"name": "resize_images", "size": True}], "resize_images.size is True; it must be"),
        ([{"name": "resize_images", "size": 8, "prefix": 5}], "resize_images.prefix is 5; it must be"),
        ([{"name": "crop_images", "area": 0.5, "prefix": 5}], "crop_images.prefix is 5; it must be"),
        ([{"name": "blank_images", "cameras": [], "size": 20_000}], "size=20000 of pictures must be"),
        ([TOKENS | {"max_length": 10**9}], "max_length=10{9} must be a whole number from 1 to 131,072"),
        ([TOKENS | {"tokenizer": WORDS | {"vocab_size": 10**12}}], "vocab_size=10{12} must be a whole number from 1"),
    ],
)
def test_values_that_no_transform_has_are_told_with_the_file(tmp_path, steps, told):
    Bundle("toy", {}, (Window("action", (0,)),), ARM, {"steps": steps}, {}).save(tmp_path / "saved")
    with pytest.raises(ValueError, match=rf"saved/transform.json: .*{told}") as caught:
        TransformPipeline.of(Bundle.load(tmp_path / "saved"))
    assert "\n" not in str(caught.value)
