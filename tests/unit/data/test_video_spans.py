"""Which frames of a file are an episode's: right, or refused, never a neighbour's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempovla.data.video_spans import DisagreementError, FilePlan

FPS = 30.0
LENGTHS = (7, 9, 5, 8, 12, 6)


def even(length: int, fps: float = FPS) -> np.ndarray:
    return np.arange(length) / fps


def plan_of(times_s: np.ndarray, lengths: tuple[int, ...], starts_s: np.ndarray, fps: float = FPS) -> FilePlan:
    return FilePlan(times_s, list(zip(starts_s.tolist(), lengths, strict=True)), fps)


def firsts(lengths: tuple[int, ...]) -> np.ndarray:
    return np.cumsum(lengths) - lengths


def numbers_or_none(plan: FilePlan, start_s: float, length: int, recorded_s: np.ndarray | None = None) -> list | None:
    recorded_s = even(length) if recorded_s is None else recorded_s
    try:
        return plan.numbers((start_s, length), lambda: recorded_s).tolist()
    except DisagreementError:
        return None


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=20).map(tuple),
    drift=st.one_of(st.floats(-0.2, 0.2), st.floats(-3, 3), st.sampled_from([-1.0, 0.25, 0.5, 1.0, 2.0])),
    extra=st.integers(0, 3),
)
def test_starts_that_drift_give_the_right_frames_or_none(lengths: tuple[int, ...], drift: float, extra: int) -> None:
    """Where the file has frames of no episode, a drift of about a whole frame an episode could be a gap as well."""
    true_first = firsts(lengths)
    starts_s = (true_first + drift * np.arange(len(lengths))) / FPS
    plan = plan_of(even(sum(lengths) + extra), lengths, starts_s)
    is_like_a_gap = extra > 0 and abs(drift - round(drift)) < 0.06 and abs(drift) > 0.5
    for place, length in enumerate(lengths):
        found = numbers_or_none(plan, starts_s[place], length)
        expected = list(range(true_first[place], true_first[place] + length))
        assert found in (expected, None) or is_like_a_gap
        is_far = len(lengths) > 1 and abs(drift) > 0.49
        if abs(drift) * len(lengths) < 0.24 or (extra == 0 and abs(drift * place) < 0.49 and not is_far):
            assert found == expected


@pytest.mark.parametrize("drift_s", [1e-7, 1e-4, 1e-3, -1e-4, -1e-3])
def test_less_than_half_a_frame_of_drift_is_forgiven_where_frames_can_be_counted(drift_s: float) -> None:
    lengths = tuple(7 + i % 11 for i in range(16))
    starts_s = firsts(lengths) / FPS + drift_s * np.arange(16)
    plan = plan_of(even(sum(lengths)), lengths, starts_s)
    for start_s, first, length in zip(starts_s, firsts(lengths), lengths, strict=True):
        assert numbers_or_none(plan, start_s, length) == list(range(first, first + length))


def test_more_drift_is_refused_with_what_the_count_says() -> None:
    starts_s = firsts(LENGTHS) / FPS + 0.01 * np.arange(6)
    plan = plan_of(even(sum(LENGTHS)), LENGTHS, starts_s)
    with pytest.raises(DisagreementError, match=r"at 0\.5533 s, but of the file's 47 frames its first is frame 16"):
        plan.numbers((starts_s[2], 5), lambda: even(5))


def test_a_whole_frame_of_drift_is_refused_though_it_lies_on_the_frames() -> None:
    starts_s = (firsts(LENGTHS) + np.arange(6)) / FPS
    plan = plan_of(even(sum(LENGTHS)), LENGTHS, starts_s)
    found = [numbers_or_none(plan, start_s, n) for start_s, n in zip(starts_s, LENGTHS, strict=True)]
    assert found == [None] * 6


def test_starts_that_overlap_or_leave_gaps_are_refused_where_frames_are_counted() -> None:
    """Of starts that were never filled in, or swapped, one may lie on a frame of the right number all the same."""
    for starts_s, lengths, told in (
        ([0.0, 0.0, 0.0], (12, 10, 8), r"two of its file's episodes at 0\.0000 s and 0\.0000 s"),
        (
            [1.2, 0.0, 2.2],
            (12, 10, 8),
            r"two of its file's episodes at 0\.0000 s and 1\.2000 s.* has 10 rows at fps 10",
        ),
    ):
        plan = plan_of(even(30, 10.0), lengths, np.array(starts_s), 10.0)
        found = [
            numbers_or_none(plan, start_s, length, even(length, 10.0))
            for start_s, length in zip(starts_s, lengths, strict=True)
        ]
        assert found == [None] * 3
        first = min(zip(starts_s, lengths, strict=True))
        with pytest.raises(DisagreementError, match=told):
            plan.numbers(first, lambda length=first[1]: even(length, 10.0))


def test_drift_is_followed_over_frames_that_cannot_be_counted() -> None:
    """After five episodes the start lies on a frame again, but not on its own."""
    starts_s = (firsts(LENGTHS) + 0.2 * np.arange(6)) / FPS
    plan = plan_of(even(sum(LENGTHS) + 4), LENGTHS, starts_s)
    found = [numbers_or_none(plan, start_s, n) for start_s, n in zip(starts_s, LENGTHS, strict=True)]
    assert found == [list(range(7)), list(range(7, 16)), None, None, None, None]


def test_frames_of_no_episode_may_lie_between() -> None:
    lengths, first = (4, 5, 3), np.array([2, 6, 14])
    plan = plan_of(even(20), lengths, first / FPS)
    for start, length in zip(first.tolist(), lengths, strict=True):
        assert numbers_or_none(plan, start / FPS, length) == list(range(start, start + length))


def test_episodes_that_overlap_are_refused_and_those_that_share_all_frames_are_not() -> None:
    plan = plan_of(even(20), (5, 5), np.array([0, 4]) / FPS)
    assert numbers_or_none(plan, 0.0, 5) is None
    with pytest.raises(DisagreementError, match=r"its frames 4 to 8 belong to another episode as well"):
        plan.numbers((4 / FPS, 5), lambda: even(5))
    plan = plan_of(even(10), (5, 5, 5), np.array([0, 5, 5]) / FPS)
    assert numbers_or_none(plan, 5 / FPS, 5) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(("declared", "actual"), [(30.0, 29.97), (30.0, 30000 / 1001), (29.97, 30.0), (60.0, 59.94)])
def test_rates_that_differ_a_little_shift_no_frame(declared: float, actual: float) -> None:
    lengths = (700, 900, 400)
    plan = plan_of(even(2000, actual), lengths, firsts(lengths) / declared, declared)
    for first, length in zip(firsts(lengths).tolist(), lengths, strict=True):
        found = numbers_or_none(plan, first / declared, length, even(length, declared))
        assert found == list(range(first, first + length))
    plan = plan_of(even(2001, actual), (2000,), np.zeros(1), declared)  # without the count, times leave doubt
    assert numbers_or_none(plan, 0.0, 2000, even(2000, declared)) is None


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.01, 2.0])
def test_other_rates_are_refused_though_the_number_of_frames_is_right(factor: float) -> None:
    plan = plan_of(even(60, factor * FPS), (60,), np.zeros(1))
    with pytest.raises(DisagreementError, match=r"row \d+ lies .* at fps 30; encode the video again at that rate"):
        plan.numbers((0.0, 60), lambda: even(60))


def test_twice_the_rate_gives_every_second_frame() -> None:
    plan = plan_of(even(24, 2 * FPS), (12,), np.zeros(1))
    assert numbers_or_none(plan, 0.0, 12) == list(range(0, 24, 2))
    assert numbers_or_none(plan_of(even(6, FPS / 2), (12,), np.zeros(1)), 0.0, 12) is None


@pytest.mark.parametrize("offset_s", [0.01, 2 / FPS, 0.5, 100.0])
def test_a_file_may_start_late_where_frames_can_be_counted(offset_s: float) -> None:
    starts_s = firsts(LENGTHS) / FPS
    plan = plan_of(offset_s + even(sum(LENGTHS)), LENGTHS, starts_s)
    for start_s, first, length in zip(starts_s, firsts(LENGTHS), LENGTHS, strict=True):
        assert numbers_or_none(plan, start_s, length) == list(range(first, first + length))
    plan = plan_of(offset_s + even(50), (40,), np.zeros(1))
    assert numbers_or_none(plan, 0.0, 40) is None


def test_rows_may_be_as_uneven_as_the_frames() -> None:
    times_s = even(20) + np.random.default_rng(0).uniform(-0.45, 0.45, 20) / FPS
    times_s -= times_s[0]
    assert numbers_or_none(plan_of(times_s, (20,), np.zeros(1)), 0.0, 20, times_s) == list(range(20))
    assert numbers_or_none(plan_of(times_s, (20,), np.zeros(1)), 0.0, 20) is None
    longer = np.r_[times_s, times_s[-1] + 1 / FPS]
    assert numbers_or_none(plan_of(longer, (20,), np.zeros(1)), 0.0, 20, times_s) == list(range(20))
    assert numbers_or_none(plan_of(longer, (20,), np.zeros(1)), 0.0, 20) is None


def test_rows_that_do_not_start_at_0_need_the_count() -> None:
    late_s = even(10) + 1 / FPS
    assert numbers_or_none(plan_of(even(10), (10,), np.zeros(1)), 0.0, 10, late_s) == list(range(10))
    with pytest.raises(DisagreementError, match=r"first row has timestamp 0\.0333 s and the file has 11 frames for 10"):
        plan_of(even(11), (10,), np.zeros(1)).numbers((0.0, 10), lambda: late_s)


@pytest.mark.parametrize("missing", [0, 4, 8])
def test_a_frame_that_is_missing_is_told_by_its_row(missing: int) -> None:
    plan = plan_of(np.delete(even(9), missing), (9,), np.zeros(1))
    with pytest.raises(DisagreementError, match=rf"no frame at .* for row {missing} \(the file has 8 frames"):
        plan.numbers((0.0, 9), lambda: even(9))


def test_a_start_that_several_episodes_have_is_refused_where_the_file_has_frames_for_each() -> None:
    plan = plan_of(even(20), (5, 5, 5, 5), np.zeros(4))
    with pytest.raises(
        DisagreementError, match=r"start of 4 episodes of 5 rows at 0\.0000 s.*20 frames.*correct from_"
    ):
        plan.numbers((0.0, 5), lambda: even(5))
