import numpy as np
import pytest

from tempovla.timeline import Window, parse_offsets, parse_window


@pytest.mark.parametrize(
    ("text", "offsets"),
    [
        ("0", (0,)),
        ("-2,-1,0", (-2, -1, 0)),
        (" -2 , 0 ", (-2, 0)),
        ("0:4", (0, 1, 2, 3)),
        ("-8:1:4", (-8, -4, 0)),
        ("-1,0:3", (-1, 0, 1, 2)),
        ("0:-3:-1", (-2, -1, 0)),
        ("3,1,2", (1, 2, 3)),
        ("-0.2s,0s", (-2, 0)),
        ("0.7s", (7,)),
        ("-1,0.291s", (-1, 3)),
    ],
)
def test_offsets_are_read_in_steps_ranges_and_seconds(text, offsets):
    assert parse_offsets(text, rate_hz=10.0) == offsets


@pytest.mark.parametrize("text", ["", "a", "0,,1", "1.5", "0:", ":4", "0:4:0", "0:1:2:3", "s", "nans", "infs", "0;1"])
def test_unreadable_offsets_are_quoted_with_examples(text):
    with pytest.raises(ValueError, match=r"offsets '.*' are not readable; write 0, -2,-1,0, 0:16 or -0.2s,0s"):
        parse_offsets(text, rate_hz=10.0)


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="offsets '4:0' are empty"):
        parse_offsets("4:0")


def test_seconds_need_a_clock():
    with pytest.raises(ValueError, match=r"'-0.2s,0s' are in seconds, but no clock is known here"):
        parse_offsets("-0.2s,0s")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "-0.1s,0s",
            r"-0.1s is -1.5 steps at 15 Hz, not a whole number of them; write -2 or -1, which are -0.133 s and",
        ),
        (
            "-0.02s",
            r"-0.02s is -0.3 steps at 15 Hz, not a whole number of them; write -1 or 0, which are -0.0667 s and 0 s",
        ),
        ("0:3,0.05s", r"0.05s is 0.75 steps at 15 Hz, not a whole number of them; write 0 or 1"),
    ],
)
def test_a_time_between_two_steps_is_refused_with_both(text, told):
    with pytest.raises(ValueError, match=told):
        parse_offsets(text, rate_hz=15.0)


def test_times_may_be_written_with_few_digits():
    assert parse_offsets("-0.13s,-0.067s,0s", rate_hz=15.0) == (-2, -1, 0)
    assert parse_offsets("-0.033s", rate_hz=30.0) == (-1,)


@pytest.mark.parametrize(
    "text", ["0:99999999999", "0,1000000000000000000000000", "-100001", "0s,20000s", "0:10:99999999999", "1e300s"]
)
def test_offsets_reach_no_further_than_any_window_and_take_no_memory(text):
    with pytest.raises(ValueError, match=r"is more than 100,000 steps from now, the limit of a window"):
        parse_offsets(text, rate_hz=10.0)


@pytest.mark.parametrize("rate_hz", [0, -5.0, float("nan"), float("inf"), "10", True])
def test_a_rate_that_is_none_is_refused(rate_hz):
    with pytest.raises(ValueError, match=rf"rate_hz={rate_hz!r} is no rate; give a positive number"):
        parse_window("action=0.1s", rate_hz)


def test_two_times_on_the_same_step_are_refused():
    with pytest.raises(ValueError, match="name the same step twice at 10 Hz; space them at least one step apart"):
        parse_offsets("-0.005s,0s", rate_hz=10.0)
    with pytest.raises(ValueError, match="name the same step twice;"):
        parse_offsets("0,0:2")


def test_a_window_is_a_key_and_offsets():
    assert parse_window("observation.state=-1,0") == Window("observation.state", (-1, 0))
    assert parse_window("action=0:2").offsets == (0, 1)


@pytest.mark.parametrize("text", ["", "observation.state", "=0"])
def test_a_window_without_key_or_offsets_is_refused(text):
    with pytest.raises(ValueError, match="write KEY=OFFSETS"):
        parse_window(text)


def test_offsets_must_be_there_increase_and_be_whole():
    with pytest.raises(ValueError, match="has no offsets"):
        Window("a", ())
    with pytest.raises(ValueError, match=r"\(0, 0\) must increase strictly"):
        Window("a", (0, 0))
    with pytest.raises(ValueError, match="must increase strictly"):
        Window("a", (1, 0))
    with pytest.raises(ValueError, match=r"\(0.5,\) are not integers"):
        Window("a", (0.5,))
    assert Window("a", tuple(np.arange(2))) == Window("a", (0, 1))


def test_shift_moves_all_offsets():
    assert Window("a", (-1, 0, 2)).shift(-3) == Window("a", (-4, -3, -1))


def test_json_round_trip():
    window = Window("a", (-1, 0))
    assert Window.from_json(window.to_json()) == window


@pytest.mark.parametrize("offset", [10**12, -(10**6)])
def test_offsets_out_of_a_file_reach_no_further_than_any_window(offset):
    with pytest.raises(ValueError, match=rf"window 'action' has offset {offset}; it must be within 100,000 steps"):
        Window.from_json({"key": "action", "offsets": [offset]})
