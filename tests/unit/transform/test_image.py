import numpy as np
import pytest
import torch

from tempovla.timeline import Context, Embodiment, Task, Track
from tempovla.transform.image import CropImages, ResizeImages, resize_frames

FRONT = "observation.images.front"


def frames(height, width, count=3):
    size = (count, 3, height, width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 24), (16, 32), (40, 8), (8, 24)])
def test_a_whole_number_reduction_is_the_rounded_mean_of_each_box(height, width):
    pictures = frames(height, width)
    boxes = pictures.double().numpy().reshape(3, 3, 8, height // 8, 8, width // 8)
    assert np.array_equal(resize_frames(pictures, 8).numpy(), np.rint(boxes.mean(axis=(3, 5))).astype(np.uint8))


def test_pictures_keep_their_aspect_ratio_where_both_sides_are_given():
    pictures = frames(16, 40)
    boxes = pictures.double().numpy().reshape(3, 3, 8, 2, 10, 4)
    resized = resize_frames(pictures, (8, 10))
    assert np.array_equal(resized.numpy(), np.rint(boxes.mean(axis=(3, 5))).astype(np.uint8))
    assert resize_frames(pictures, (16, 40)) is pictures
    assert resize_frames(pictures, (7, 11)).shape == (3, 3, 7, 11)
    read = ResizeImages.from_json(ResizeImages((8, 10)).to_json())
    assert read.size == (8, 10)
    with pytest.raises(ValueError, match="size=0 of pictures"):
        ResizeImages((8, 0))


def test_memory_layout_does_not_matter():
    pictures = frames(16, 16)
    interleaved = pictures.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(resize_frames(interleaved, 8), resize_frames(pictures, 8))


def test_a_picture_of_the_right_size_is_left_untouched():
    pictures = frames(8, 8)
    assert resize_frames(pictures, 8) is pictures


@pytest.mark.parametrize("size", [7, 11, 16, 24])
def test_any_other_size_keeps_flat_pictures_flat_and_the_mean(size):
    flat = torch.full((1, 3, 10, 20), 77, dtype=torch.uint8)
    assert (resize_frames(flat, size) == 77).all()
    ramp = torch.arange(0, 200, 10, dtype=torch.uint8).expand(1, 3, 10, 20)
    resized = resize_frames(ramp, size).float()
    assert (resized.diff(dim=-1) > 0).all()
    assert abs(resized.mean() - 95) < 1.5


def test_extremes_do_not_wrap_around():
    checkers = (torch.arange(20)[:, None] + torch.arange(20)) % 2 * 255
    for size in (5, 7, 33):
        resized = resize_frames(checkers.to(torch.uint8).expand(1, 3, 20, 20), size)
        assert resized.dtype == torch.uint8
    assert resize_frames(torch.full((1, 3, 20, 20), 255, dtype=torch.uint8), 7).min() == 255


def context(now, past=None):
    rows = len(next(iter(now.values())).value)
    task = (Task("open", Embodiment("arm", 1, 1, 10.0)),) * rows
    return Context(past or {}, now, task, torch.zeros(rows, dtype=torch.bool))


def test_images_past_present_and_future_are_resized_and_nothing_else():
    raw = frames(16, 16, count=6).permute(0, 2, 3, 1).reshape(2, 3, 16, 16, 3)
    track = Track.of(raw, (-1, 0, 1), torch.tensor([[False, True, True], [True, True, False]]))
    state = Track.of(torch.zeros(2, 1, 4), (0,))
    before, now, after = (track.select(track.offset == offset) for offset in (-1, 0, 1))
    seen, future = ResizeImages(8).forward(context({FRONT: now, "state": state}, {FRONT: before}), {FRONT: after})
    for offset, part in ((-1, seen.past), (0, seen.now), (1, future)):
        value, valid = part[FRONT].at(offset)
        assert value.shape == (2, 3, 8, 8)
        assert torch.equal(value, resize_frames(raw[:, offset + 1].permute(0, 3, 1, 2), 8))
        assert torch.equal(valid, track.valid[:, offset + 1])
    assert seen.now["state"] is state


@pytest.mark.parametrize(
    "value", [torch.zeros(1, 1, 8, 8, 3), torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8).byte()]
)
def test_what_is_no_picture_is_refused(value):
    with pytest.raises(
        ValueError, match=r"stream 'observation.images.front' is .*; images must be uint8 \(B, T, H, W, 3\)"
    ):
        ResizeImages(4).forward(context({FRONT: Track.of(value, (0,))}), {})


@pytest.mark.parametrize(
    ("area", "rows", "columns"), [(1.0, (0, 16), (0, 10)), (0.25, (4, 12), (2, 7)), (1e-9, (7, 8), (4, 5))]
)
def test_the_middle_of_a_picture_is_left(area, rows, columns):
    value = frames(16, 10)[None]
    task = (Task("open", Embodiment("arm", 3, 1, 10.0)),)
    state = Track.of(torch.ones(1, 1, 3), (0,))
    context = Context(
        {}, {FRONT: Track.of(value, (-2, -1, 0)), "observation.state": state}, task, torch.zeros(1).bool()
    )
    seen, _ = CropImages(area).forward(context, {})
    assert torch.equal(seen.now[FRONT].value, value[..., slice(*rows), slice(*columns)])
    assert seen.now["observation.state"] is state


def test_crops_that_do_not_work_are_refused():
    with pytest.raises(ValueError, match=r"area=0 of a crop must lie in \(0, 1\]"):
        CropImages(0)
    task = (Task("open", Embodiment("arm", 3, 1, 10.0)),)
    context = Context({}, {FRONT: Track.of(torch.zeros(1, 1, 8, 8, 3), (0,))}, task, torch.zeros(1).bool())
    with pytest.raises(ValueError, match=r"must be \(B, T, 3, H, W\): put crop_images after resize_images"):
        CropImages(0.5).forward(context, {})
