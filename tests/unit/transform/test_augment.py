import pytest
import torch
from torch.nn import functional as F

from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.transform.augment import RandomShift, shift_frames

FRONT, WRIST = "observation.images.front", "observation.images.wrist"


def pictures(rows=5, steps=2, size=12, seed=0):
    shape = (rows, steps, 3, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def sample(rows=5, seed=None):
    task = (Task("open", Embodiment("arm", 1, 1, 10.0)),) * rows
    front, wrist = pictures(rows, 3), pictures(rows, 1, seed=1)
    context = Context(
        past={FRONT: Track.of(front[:, :1], (-1,))},
        now={
            FRONT: Track.of(front[:, 1:2], (0,)),
            WRIST: Track.of(wrist, (0,)),
            "state": Track.of(torch.ones(rows, 1), (0,)),
        },
        task=task,
        first=torch.zeros(rows, dtype=torch.bool),
    )
    seed = torch.arange(rows) if seed is None else seed
    return TimelineSample(context, {FRONT: Track.of(front[:, 2:], (1,))}, seed)


def shift_of(before, after, pad=4):
    """The (down, right) whole pixels by which `after` is `before` moved, found by trying all."""
    found = [
        (down, right)
        for down in range(-pad, pad + 1)
        for right in range(-pad, pad + 1)
        if torch.equal(shift_frames(before[None, None], torch.tensor([[down, right]]))[0, 0], after)
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("contiguous", [True, False])
def test_shifting_equals_padding_with_the_edge_and_cropping(contiguous):
    frames = pictures()
    if not contiguous:
        frames = frames.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    shift = torch.tensor([[0, 0], [4, -4], [-3, 2], [1, 4], [-4, -1]])
    padded = F.pad(frames.float().flatten(0, 1), (4, 4, 4, 4), mode="replicate").to(torch.uint8).unflatten(0, (5, 2))
    expected = [
        row[:, :, 4 - dy : 16 - dy, 4 - dx : 16 - dx] for row, (dy, dx) in zip(padded, shift.tolist(), strict=True)
    ]
    assert torch.equal(shift_frames(frames, shift), torch.stack(expected))


def test_pictures_need_not_be_square():
    frames = pictures()[..., :7]
    moved = shift_frames(frames, torch.tensor([[1, 2]]).expand(5, 2))
    assert torch.equal(moved[..., 1:, 2:], frames[..., :-1, :-2])
    assert torch.equal(moved[..., 0, 2:], frames[..., 0, :-2])
    assert torch.equal(moved[..., :2], moved[..., 2:3].expand_as(moved[..., :2]))


def test_all_steps_of_a_stream_in_a_row_move_together():
    before, after = sample(), RandomShift(4)(sample())
    for row in range(5):
        pairs = [
            (before.context.past[FRONT], after.context.past[FRONT]),
            (before.context.now[FRONT], after.context.now[FRONT]),
            (before.future[FRONT], after.future[FRONT]),
        ]
        assert len({shift_of(old.value[row, 0], new.value[row, 0]) for old, new in pairs}) == 1


def test_rows_and_streams_move_apart():
    before, after = sample(rows=40), RandomShift(4)(sample(rows=40))
    shifts = {
        key: [
            shift_of(before.context.now[key].value[row, 0], after.context.now[key].value[row, 0]) for row in range(40)
        ]
        for key in (FRONT, WRIST)
    }
    assert shifts[FRONT] != shifts[WRIST]
    for moved in shifts.values():
        assert len(set(moved)) > 20
        assert {min(step[0] for step in moved), max(step[0] for step in moved)} == {-4, 4}


def test_the_row_seed_alone_decides():
    whole = RandomShift(4)(sample())
    assert torch.equal(RandomShift(4)(sample()).future[FRONT].value, whole.future[FRONT].value)
    alone = RandomShift(4)(sample().rows([3]))
    assert torch.equal(alone.future[FRONT].value[0], whole.future[FRONT].value[3])
    other = RandomShift(4)(sample(seed=torch.arange(5) + 100))
    assert not torch.equal(other.future[FRONT].value, whole.future[FRONT].value)


def test_other_streams_validity_and_seeds_stay():
    before, after = sample(), RandomShift(4)(sample())
    assert torch.equal(after.context.now["state"].value, before.context.now["state"].value)
    assert torch.equal(after.context.now[FRONT].valid, before.context.now[FRONT].valid)
    assert torch.equal(after.seed, before.seed)


def test_no_padding_is_no_change():
    before = sample()
    assert RandomShift(0)(before) is before
