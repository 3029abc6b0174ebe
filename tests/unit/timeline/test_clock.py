import numpy as np
import pytest

from tempovla.timeline.clock import latest_at


def read(timestamps_s, asked_s, tolerance_s=0.1):
    index, valid = latest_at(np.asarray(timestamps_s, float), np.asarray(asked_s, float), tolerance_s)
    return index.tolist(), valid.tolist()


def test_a_stream_at_control_rate_is_read_at_its_own_samples():
    ticks = np.arange(100) / 30.0
    index, valid = latest_at(ticks, ticks, 1 / 30.0)
    assert index.tolist() == list(range(100))
    assert valid.all()


def test_rounded_timestamps_do_not_lag():
    ticks = np.arange(3000) / 30.0
    stored = ticks.astype(np.float32).astype(np.float64) + 5e-4
    index, valid = latest_at(stored, ticks, 1 / 30.0)
    assert index.tolist() == list(range(3000))
    assert valid.all()


def test_between_samples_the_older_one_counts():
    assert read([0.0, 0.1, 0.2], [0.05, 0.099 - 1e-9, 0.15]) == ([0, 0, 1], [True, True, True])


def test_a_slower_stream_repeats_its_latest_value():
    assert read([0.0, 0.2, 0.4], [0.0, 0.1, 0.2, 0.3], tolerance_s=0.2) == ([0, 0, 1, 1], [True] * 4)


def test_before_the_first_sample_is_clamped_and_invalid():
    assert read([0.5, 0.6], [0.0, 0.49, 0.5]) == ([0, 0, 0], [False, False, True])


def test_after_the_last_sample_a_value_ages_until_the_tolerance():
    assert read([0.0, 0.1], [0.15, 0.2, 0.21, 9.0]) == ([1, 1, 1, 1], [True, True, False, False])


def test_the_tolerance_counts_despite_rounding():
    assert read([0.1 + 0.2], [0.4], tolerance_s=0.1) == ([0], [True])
    assert read([0.1], [0.8], tolerance_s=0.7) == ([0], [True])  # 0.8 - 0.1 is 0.7000000000000001


def test_inside_a_gap_values_are_invalid_and_stay_clamped_to_the_older_side():
    assert read([0.0, 0.1, 0.5], [0.1, 0.2, 0.3, 0.49, 0.5]) == ([1, 1, 1, 1, 2], [True, True, False, False, True])


def test_jitter_of_a_fast_stream_is_forgiven_by_half_its_tolerance_only():
    assert read([0.0, 0.0010], [0.0004, 0.0006], tolerance_s=0.001)[0] == [0, 1]


@pytest.mark.parametrize("count", [1, 5])
def test_result_has_the_shape_asked_for(count):
    index, valid = latest_at(np.zeros(1), np.zeros(count), 0.1)
    assert index.dtype == np.int64
    assert valid.dtype == np.bool_
    assert len(index) == len(valid) == count
