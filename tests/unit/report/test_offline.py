"""Offline errors are shown as they stand, beside those of the mean action."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.unit.report.figures import OFFLINE

from tempovla.report.offline import OfflineRow, offline_section, read_offline


def section(folder: Path, **changes) -> str:
    (folder / "offline.json").write_text(json.dumps(OFFLINE | changes))
    return offline_section(read_offline(folder), folder)


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html)
    return [
        [re.sub(r"<[^>]*>", " ", cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]


def test_every_dimension_has_its_error_and_that_of_the_mean_action(tmp_path):
    html = section(tmp_path)
    assert cells(html) == [
        ["Dimension", "Error of the policy", "Error of the mean action", "Relative"],
        ["x [m]", "0.02", "0.04", "0.250"],
        ["still", "0.1", "\u2013", "\u2013"],
        ["grip", "1.2", "1", "1.440"],
        ["Mean of the relative errors", "\u2013", "\u2013", "0.845"],
        ["Mean action always answered", "\u2013", "\u2013", "1.000"],
    ]
    assert "1,400 steps of 5 held-out episodes" in html
    assert "as demonstrated at 64.0% of the steps" in html
    assert "never vary in still" in html
    assert "no nearer to the demonstrations" not in html


def test_dots_lie_at_the_relative_errors_and_a_line_at_1(tmp_path):
    html = section(tmp_path)
    html = html[html.index('class="chart') :]
    assert 'aria-label="x [m]: 0.25 of the mean action&#x27;s error"' in html
    ends = [float(x) for x in re.findall(r'<line x1="([\d.]+)%"[^>]*class="reference"', html)]
    dots = [float(x) for x in re.findall(r'<svg x="([\d.]+)%"', html)]
    assert len(ends) == len(dots) == 2
    assert dots[0] / ends[0] == pytest.approx(0.25, rel=1e-3)
    assert dots[1] / ends[1] == pytest.approx(1.44, rel=1e-3)


def test_what_the_errors_do_not_show_is_said(tmp_path):
    html = section(tmp_path, mse_relative=1.1, split="all")
    assert "no nearer to the demonstrations than their mean action" in html
    assert "Training saw some of these episodes" in html
    assert "5 episodes, training ones included" in html


def test_the_error_of_the_mean_action_follows_from_the_relative_one():
    assert OfflineRow("x", 0.5, 0.25).of_mean_action == 2.0
    assert OfflineRow("x", 0.5, None).of_mean_action is None
    assert OfflineRow("x", 0.0, 0.0).of_mean_action is None


def test_without_the_file_the_page_says_how_to_get_it(tmp_path):
    assert read_offline(tmp_path) is None
    assert "`tempovla eval offline --checkpoint CHECKPOINT --json" in offline_section(None, tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dimensions": {}}, "dimensions is empty"),
        ({"dimensions": {"x": {"mse": "low"}}}, "dimensions.x.mse is 'low'; it must be a finite number"),
        ({"episodes": None}, "episodes is None"),
        ({"mse_relative": "all"}, "mse_relative is"),
    ],
)
def test_a_damaged_file_is_told_by_key(tmp_path, changes, told):
    with pytest.raises(ValueError, match=told) as refused:
        section(tmp_path, **changes)
    assert str(tmp_path / "offline.json") in str(refused.value)
