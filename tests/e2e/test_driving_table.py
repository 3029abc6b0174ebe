"""The tables of sensors show what was measured."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def table(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("driving_table")


def record(finished: int, of: int = 20) -> dict[str, Any]:
    """Routes of which the first ones were finished."""
    flags = [int(route < finished) for route in range(of)]
    figures = dict.fromkeys(("pdm_score", "collision", "red_lights", "off_road", "off_route", "timeout"), [0.0] * of)
    return {"successes": flags, "figures": figures | dict.fromkeys(("completion", "driving_score"), flags)}


@pytest.fixture
def measured(tmp_path) -> Path:
    plays = ("day", "night", "fog", "unseen town")
    opened = {"rows": {}, "recognised": {"road_iou": {"mean": 0.875, "ci95": [0.8, 0.9]}}}
    records = {
        "all sensors": {play: record(14) for play in plays} | {"nothing broken": record(9, 10)},
        "blind": {play: record(0) for play in plays},
        "expert": {play: record(19) for play in plays},
    }
    records["all sensors"]["without LiDAR"] = record(4, 10)
    for name in ("all sensors", "blind"):
        rows = {"policy": {"l2": {c: {t: {"mean": 1.5} for t in ("1", "2", "3", "mean")} for c in ("uniad", "stp3")}}}
        records[name]["open loop"] = {"rows": rows}
    records["all sensors"]["open loop"] |= {"recognised": opened["recognised"]}
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(records))
    return path


def test_rates_pairs_losses_and_what_is_recognised_are_told(table, measured, tmp_path, capsys):
    picture = tmp_path / "rates.png"
    table.main(["--json", str(measured), "--show", "--picture", str(picture)])
    told = capsys.readouterr().out
    cell = "70% [48%, 85%], 0.70"
    assert f"| all sensors | {cell} | {cell} | {cell} | {cell} |  |" in told
    assert told.index("| expert | 95%") < told.index("| blind | 0%") < told.index("| all sensors | 70%")
    assert "| all sensors | blind | seen town | 60 | +70 points, p = 4.5e-13 | +0.70" in told
    assert "| all sensors | without LiDAR | -50 points, p = 0.062 | -0.50" in told
    assert "| all sensors | 0.88 [0.80, 0.90] |" in told
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_nothing_and_an_unknown_policy_are_refused(table, tmp_path):
    empty = tmp_path / "none.json"
    with pytest.raises(ValueError, match=r"no policy has driven day, night, fog, unseen town; run one first"):
        table.main(["--json", str(empty), "--show", "--picture", str(tmp_path / "rates.png")])
    with pytest.raises(ValueError, match=r"--arms: 'sonar' is no policy; choose from blind; "):
        table.main(["--json", str(empty), "--arms", "sonar"])


def test_a_policy_that_goes_on_from_another_one_names_its_checkpoint(table, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(table, "tempovla", lambda *words: called.append(words) or "{}")
    run = table.Run(tmp_path, "LiDAR, longer", table.ARMS["LiDAR, longer"], 3)
    run.train("outputs/city", None)
    base, longer = called  # what it starts from is trained first
    assert "--base-checkpoint" not in base
    assert longer[longer.index("--base-checkpoint") + 1] == str(tmp_path / "LiDAR_3" / "checkpoint_latest")
    assert longer[longer.index("--training.train_steps") + 1] == "1500"
    assert "--base" not in longer
    run.train("outputs/city", None)
    assert len(called) == 2  # what is finished is not done again
