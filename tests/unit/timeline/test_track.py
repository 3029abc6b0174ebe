import pytest
import torch

from tempovla.timeline import ActionChunk, Track
from tempovla.timeline.track import concatenate

OFFSETS = torch.tensor([-1, 0, 2])


def track():
    value = torch.arange(12.0).view(2, 3, 2)
    return Track(value, torch.tensor([[True, False, True], [True, True, True]]), OFFSETS)


@pytest.mark.parametrize(
    ("value", "valid", "offset", "message"),
    [
        (torch.zeros(2, 3, 2), torch.ones(2, 2, dtype=torch.bool), OFFSETS, r"\(2, 3, 2\) and valid \(2, 2\) differ"),
        (torch.zeros(3), torch.ones(3, dtype=torch.bool), OFFSETS, r"\(3,\) and valid \(3,\) differ"),
        (torch.zeros(2, 3), torch.ones(2, 3), OFFSETS, "dtype torch.float32; use torch.bool"),
        (torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool), OFFSETS[:2], r"offset \(2,\) must be \(T,\) = \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(value, valid, offset, message):
    with pytest.raises(ValueError, match=message):
        Track(value, valid, offset)


def test_of_makes_everything_valid_unless_told():
    assert Track.of(torch.zeros(2, 3), (-1, 0, 2)).valid.all()
    assert Track.of(torch.zeros(2, 3), (-1, 0, 2), track().valid).valid.tolist() == track().valid.tolist()


def test_at_gives_value_and_validity_of_one_offset():
    value, valid = track().at(2)
    assert value.tolist() == [[4.0, 5.0], [10.0, 11.0]]
    assert track().at(0)[1].tolist() == [False, True]
    assert valid.tolist() == [True, True]


def test_at_an_offset_that_is_not_there_names_those_that_are():
    with pytest.raises(KeyError, match=r"no offset 1 in a track with offsets \[-1, 0, 2\]; widen its Window"):
        track().at(1)


def test_rows_select_and_concatenate_keep_values_validity_and_offsets_together():
    second = track().rows(torch.tensor([1]))
    assert second.value.tolist() == [[[6.0, 7.0], [8.0, 9.0], [10.0, 11.0]]]
    assert second.valid.tolist() == [[True, True, True]]
    ends = track().select(torch.tensor([True, False, True]))
    assert ends.offset.tolist() == [-1, 2]
    assert ends.value[0].tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert ends.valid[0].tolist() == [True, True]
    early, late = (track().select(OFFSETS < 1), track().select(OFFSETS > 0))
    joined = concatenate(early, late)
    assert torch.equal(joined.value, track().value)
    assert torch.equal(joined.valid, track().valid)
    assert torch.equal(joined.offset, OFFSETS)


def test_map_must_keep_rows_and_steps():
    assert track().map(lambda value: value.sum(-1)).value.shape == (2, 3)
    with pytest.raises(ValueError, match="differ"):
        track().map(lambda value: value[:, :2])


def test_action_chunks_start_now_and_skip_no_step():
    with pytest.raises(ValueError, match=r"offsets \[-1, 0, 2\] must be 0, 1, ..., 2"):
        ActionChunk(**vars(track()))


def test_action_chunks_stay_action_chunks():
    chunk = ActionChunk(torch.zeros(2, 3, 1), torch.ones(2, 3, dtype=torch.bool), torch.arange(3))
    for other in (chunk.to("cpu"), chunk.rows(slice(0, 1)), chunk.map(lambda value: value + 1)):
        assert isinstance(other, ActionChunk)


def points_track() -> Track:
    """Two rows of three steps of two points; the second point of the first row is absent at its first step."""
    value = torch.arange(24.0).reshape(2, 3, 2, 2)
    value[0, 0, 1, 0] = torch.nan
    return Track.of_points(value, OFFSETS.tolist())


def test_absent_points_become_zeros_that_are_not_valid():
    found = points_track()
    assert found.element_valid is not None
    assert found.element_valid.tolist() == [[[True, False], [True, True], [True, True]], [[True, True]] * 3]
    assert found.value[0, 0].tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert found.valid.all()


def test_points_keep_their_validity_through_rows_steps_joins_and_frames():
    found = points_track()
    ends = found.select(torch.tensor([True, False, True]))
    assert ends.element_valid.tolist() == [[[True, False], [True, True]], [[True, True]] * 2]
    again = concatenate(found.select(OFFSETS < 1), found.select(OFFSETS > 0))
    assert torch.equal(again.element_valid, found.element_valid)
    frames = found.frames(torch.tensor([1, 0]), torch.tensor([2, 0]))
    assert frames.element_valid.tolist() == [[[True, True]], [[True, False]]]
    assert frames.value[1, 0, 0].tolist() == [0.0, 1.0]
    assert frames.offset.tolist() == [0]
    assert found.rows(torch.tensor([1])).to("cpu").element_valid.all()


def test_points_with_a_number_that_is_not_finite_are_absent():
    value = torch.ones(1, 1, 4, 3)
    value[0, 0, 1, 2], value[0, 0, 2, 0], value[0, 0, 3, 1] = torch.nan, torch.inf, -torch.inf
    track = Track.of_points(value, (0,))
    assert track.element_valid.tolist() == [[[True, False, False, False]]]
    assert torch.equal(track.value[0, 0, 1:], torch.zeros(3, 3))


def test_the_validity_of_points_must_have_their_shape():
    with pytest.raises(ValueError, match=r"element_valid \(2, 3, 1\) of torch.bool must be bool of .* \(2, 3, 2\)"):
        Track(
            torch.zeros(2, 3, 2, 2), torch.ones(2, 3, dtype=torch.bool), OFFSETS, element_valid=torch.ones(2, 3, 1) > 0
        )
