import pytest
import torch

from tempovla.timeline import Track
from tempovla.timeline.laws import random_contexts
from tempovla.timeline.window import Window
from tempovla.transform.depth import ResizeDepth, resize_depth

DEPTH, OTHER = "observation.depth.front", "observation.depth.wrist"


def test_boxes_are_averaged_over_their_readings_alone():
    depth = torch.tensor([[[[1.0, 3.0, 0.0, 2.0], [0.0, 2.0, 0.0, 0.0]]]])
    assert resize_depth(torch.cat([depth, depth], dim=2), 2).tolist() == [[[[2.0, 2.0], [2.0, 2.0]]]]
    assert resize_depth(torch.zeros(1, 1, 4, 4), 2).tolist() == [[[[0.0, 0.0], [0.0, 0.0]]]]


def test_other_sizes_take_the_nearest_pixel():
    depth = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    resized = resize_depth(depth, 2)
    assert resized.tolist() == [[[[1.0, 3.0], [7.0, 9.0]]]]
    assert set(resize_depth(depth, 5).flatten().tolist()) == set(range(1, 10))
    assert resize_depth(depth, 3) is depth


def test_what_is_no_reading_becomes_0_and_channels_come_first():
    context = random_contexts((Window(DEPTH, (-1, 0)),), {DEPTH: (4, 6, 1)}, steps=1)[0]
    value = context.now[DEPTH].value.clone()
    value[0, 0, 0, 0], value[0, 0, 0, 1], value[0, 0, 0, 2] = torch.nan, torch.inf, -1.0
    context.now[DEPTH] = Track.of(value, [0])
    out, _ = ResizeDepth((DEPTH,), None).forward(context, {})
    seen = out.now[DEPTH].value
    assert seen.shape == (4, 1, 1, 4, 6)
    assert seen[0, 0, 0, 0, :3].tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(seen[0, 0, 0, 1:], value[0, 0, 1:, :, 0])
    assert out.past[DEPTH].value.shape == (4, 1, 1, 4, 6)


def test_only_the_named_streams_are_resized():
    windows = (Window(DEPTH, (0,)), Window(OTHER, (0,)))
    context = random_contexts(windows, {DEPTH: (4, 4, 1), OTHER: (4, 4, 1)}, steps=1)[0]
    out, _ = ResizeDepth((DEPTH,), 2).forward(context, {})
    assert out.now[DEPTH].value.shape == (4, 1, 1, 2, 2)
    assert out.now[OTHER] is context.now[OTHER]


def test_blank_depth_has_no_reading_even_where_none_was_given():
    context = random_contexts((Window(DEPTH, (-1, 0)),), {DEPTH: (4, 4, 1)}, steps=1)[0]
    out, _ = ResizeDepth((DEPTH, OTHER), 2, blank=True).forward(context, {})
    for track in (out.past[DEPTH], out.now[DEPTH], out.now[OTHER]):
        assert track.value.shape == (4, 1, 1, 2, 2)
        assert not track.value.any()
        assert track.valid.all()


@pytest.mark.parametrize(
    ("options", "told"),
    [({"size": 0}, "size=0 of pictures must be a whole number"), ({"size": None, "blank": True}, "size=null of blank")],
)
def test_sizes_that_no_depth_has_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        ResizeDepth((DEPTH,), **options)


def test_what_is_no_depth_is_refused():
    context = random_contexts((Window(DEPTH, (0,)),), {DEPTH: (4, 4, 1)}, steps=1)[0]
    context.now[DEPTH] = Track.of(torch.zeros(4, 1, 4, 4, 3), [0])
    with pytest.raises(ValueError, match=r"stream 'observation\.depth\.front' is \(4, 1, 4, 4, 3\) torch\.float32"):
        ResizeDepth((DEPTH,), 2).forward(context, {})
