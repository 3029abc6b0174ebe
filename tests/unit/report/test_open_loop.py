"""Open-loop figures as tables that fit a terminal."""

from __future__ import annotations

from tempovla.report.open_loop import TERMINAL, open_loop_lines

NAMES = ("recorded", "ego status and command MLP", "policy")
EVENTS = {"standstill": 10, "turning": 1108, "braking": 48, "cruising": 1160}


def figure(mean: float) -> dict:
    return {"mean": mean, "ci95": [mean - 1.0, mean + 1.0]}


def driven() -> dict:
    times = ("1", "2", "3", "mean")
    both = {
        convention: {time: figure(20.0 + place) for place, time in enumerate(times)} for convention in ("uniad", "stp3")
    }
    share = {convention: {time: figure(0.25) for time in times} for convention in ("uniad", "stp3")}
    row = {"l2": both, "collision": share, "collision_new": share, "off_road": share}
    row |= {"ade": figure(12.0), "fde": figure(22.0), "miss_rate": figure(0.5)}
    row |= {"by_event": {event: {"fde": figure(22.0)} for event in EVENTS}}
    return {
        "rows": dict.fromkeys(NAMES, row),
        "horizons_s": [1.0, 2.0, 3.0],
        "events": EVENTS,
        "samples": 1,
        "scenes": 1,
    }


def test_all_tables_fit_a_terminal_and_their_columns_stand_below_their_groups():
    lines = open_loop_lines(driven())
    assert lines[0] == "open loop: 1 moment of 1 scene"
    assert max(map(len, lines)) <= TERMINAL
    start = lines.index("Distance from the recorded trajectory [m]")
    groups, columns, first = lines[start + 1 : start + 4]
    assert groups.split() == ["UniAD", "ST-P3,", "VAD", "UniAD", "3", "s"]
    assert columns.split() == ["1", "s", "2", "s", "3", "s", "mean"] * 2 + ["[95%]"]
    assert first.split() == ["recorded", *["20.00", "21.00", "22.00", "23.00"] * 2, "[21.00,", "23.00]"]
    assert groups.index("UniAD") + len("UniAD") == columns.index("mean") + len("mean")
    start = next(place for place, line in enumerate(lines) if line.startswith("Collisions with others [%]"))
    groups, columns = lines[start + 1 : start + 3]
    assert columns.split() == ["3", "s", "mean"] * 4 + ["3", "s"]
    end = groups.index("new, ST-P3, VAD") + len("new, ST-P3, VAD")
    assert columns[:end].endswith("mean")


def test_what_is_recognised_is_told_in_words():
    names = ("occupancy_iou", "occupancy_iou_0s", "occupancy_iou_1.5s", "road_iou", "light_accuracy")
    lines = open_loop_lines(driven() | {"recognised": {name: figure(0.5) for name in names}})
    head, *rows = lines[lines.index("What the policy recognises of its surroundings") + 1 :]
    assert head.split() == ["0", "to", "1", "[95%]"]
    told = ["others, IoU", "others, IoU now", "others, IoU in 1.5 s", "road, IoU"]
    assert [row.partition("  ")[0] for row in rows] == [*told, "traffic lights, share of right answers"]
