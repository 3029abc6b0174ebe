"""Which dimensions of which streams a user asks for."""

import pytest

from tempovla.timeline.parts import StreamPart, WantedPart, parse_parts


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("state", (WantedPart("state"),)),
        ("observation.state[0:7]", (WantedPart("observation.state", 0, 7),)),
        ("state[ 2 : ]", (WantedPart("state", 2, None),)),
        ("state[:-1]", (WantedPart("state", None, -1),)),
        ("state[3]", (WantedPart("state", 3, 4),)),
        ("state[-1]", (WantedPart("state", -1, None),)),
        (["a", "b[1:2]"], (WantedPart("a"), WantedPart("b", 1, 2))),
        ("[observation.state[0:7], 'left hand']", (WantedPart("observation.state", 0, 7), WantedPart("left hand"))),
        ("a[0:2],b", (WantedPart("a", 0, 2), WantedPart("b"))),
    ],
)
def test_keys_slices_and_lists_are_read(given, parts):
    assert parse_parts(given, "data.state_key") == parts


@pytest.mark.parametrize("given", ["state[", "state[]", "state[1 2]", "state[-]", "state[0:7:2]", "a,,b", [3]])
def test_what_is_not_readable_is_refused_with_how_to_write_it(given):
    with pytest.raises(ValueError, match=r"data\.state_key.* is not readable; write KEY or KEY\[START:STOP\]"):
        parse_parts(given, "data.state_key")


@pytest.mark.parametrize("given", ["", "[]", []])
def test_naming_nothing_is_refused(given):
    with pytest.raises(ValueError, match="names no stream; write a key"):
        parse_parts(given, "data.state_key")


def test_bounds_count_from_either_end_and_stay_within_the_stream():
    assert WantedPart("state", -3, -1).of_size(8) == StreamPart("state", 8, 5, 7)
    assert str(WantedPart("state", 2).of_size(8)) == "state[2:8]"
    assert WantedPart("state").of_size(8).is_whole
    for part in (
        WantedPart("state", 0, 9),
        WantedPart("state", 4, 4),
        WantedPart("state", -9),
        WantedPart("state", 5, 2),
    ):
        with pytest.raises(ValueError, match="does not lie within the 8 dimensions of 'state'"):
            part.of_size(8)
