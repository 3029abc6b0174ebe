"""What simulators measure, as text of commands that fits a terminal, and beside baselines."""

from __future__ import annotations

from typing import Any

from tempovla.report.measured import Measured, named
from tempovla.report.measured_tables import TERMINAL, beside_table, compared_lines, measured_lines, measured_section
from tempovla.timeline.driving import FIGURE_UNITS, FIGURES, SCORES

DRIVEN = ("driving_score", "pdm_score", "comfort", "distance_m", "red_lights", "max_yaw_rate")


def results(tasks: int, ci95: list[float] | None) -> dict[str, Any]:
    block = {"figures": {name: {"mean": 12.34, "ci95": ci95} for name in DRIVEN}}
    return {"tasks": {f"task_{number}": block for number in range(tasks)}, "mean": block}


def compared(ci95: list[float] | None) -> dict[str, Any]:
    block = {"a": 0.25, "b": 0.75, "difference": 0.5, "ci95": ci95, "p_value": 0.031, "exact": True, "pairs": 6}
    return {"figures": dict.fromkeys(DRIVEN, block)}


def test_every_figure_of_driving_has_its_unit():
    assert set(FIGURE_UNITS) == {*SCORES, *FIGURES}
    assert FIGURE_UNITS["max_lateral_acceleration"] == "m/s2"
    words = named([*SCORES, *FIGURES])
    assert (words["distance_m"], words["off_road"], words["completion"]) == (
        "distance [m]",
        "off road [share]",
        "completion [0 to 1]",
    )


def test_figures_of_other_simulators_keep_their_names():
    assert named(["comfort", "hasty_steps"]) == {"comfort": "comfort", "hasty_steps": "hasty steps"}


def test_columns_that_do_not_fit_a_terminal_are_put_below_each_other():
    lines = measured_lines(results(4, [-1234.5, 4321.5]))
    assert max(map(len, lines)) <= TERMINAL
    heads = [line.split() for line in lines if "task_" in line or line.strip() == "mean"]
    assert [top for head in heads for top in head] == ["task_0", "task_1", "task_2", "task_3", "mean"]
    assert sum(line.startswith("distance [m]") for line in lines) == len(heads) > 1
    assert measured_lines(results(1, None))[3].split() == ["driving", "score", "[0", "to", "1]", "12.3"]


def test_that_there_is_no_interval_is_said_once():
    lines = compared_lines(compared(None))
    assert sum("no interval" in line for line in lines) == 1
    assert lines[1].split() == ["A", "B", "B", "-", "A", "p"]
    assert lines[2].split() == ["driving", "score", "[0", "to", "1]", "0.25", "0.75", "+0.5", "0.031"]
    assert "no interval" not in "".join(compared_lines(compared([0.25, 0.75])))
    figures = {name: Measured(1.0, None) for name in DRIVEN}
    page = str(measured_section([("day", figures), ("night", figures)]))
    assert page.count("interval.") == 1
    assert "<td>1</td>" in page


def test_a_policy_stands_beside_its_baseline_with_the_paired_difference():
    page = str(beside_table(compared([0.25, 0.75]), "Beside the blind policy", "Blind"))
    assert "over the 6 episodes that both played" in page
    row = '<th scope="row">distance [m]</th><td>0.75</td><td>0.25</td><td>+0.5<small>+0.25 to +0.75</small></td>'
    assert row in page
    assert beside_table({}, "Beside the blind policy", "Blind") is None
