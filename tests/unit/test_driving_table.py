"""The table of driving policies goes on with a file of the same options alone, and shows what was measured."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tempovla.timeline.driving import FIGURES, SCORES

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def table(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "driving_table", raising=False)
    return importlib.import_module("driving_table")


@pytest.fixture
def arms(table) -> Any:
    return importlib.import_module("driving_arms")


def write_measured(table: Any, arms: Any, path: Path, episodes: int) -> dict[str, dict[str, Any]]:
    """What the expert and a blind policy did on all plays, in the file."""

    def measured(routes: int) -> dict[str, Any]:
        return table.record_of([(True, dict.fromkeys(FIGURES, 0.0) | dict.fromkeys(SCORES, 0.5))] * routes)

    records = {arm: {play: measured(episodes) for play in arms.PLAYS} for arm in (arms.EXPERT, arms.BLIND)}
    del records[arms.EXPERT][arms.DEAF]
    path.write_text(json.dumps(records))
    return records


def test_what_is_measured_is_not_driven_again(table, arms, tmp_path, monkeypatch):
    file, driven = tmp_path / "driving.json", []
    records = write_measured(table, arms, file, 3)
    monkeypatch.setattr(table.Run, "train", lambda *_: driven.append("training"))
    monkeypatch.setattr(table.Run, "compare", lambda *_: {"rows": {"policy": None}})
    monkeypatch.setattr(table, "print_open_loop", lambda records: None)
    call = ["--data", "city", "--out", str(tmp_path), "--json", str(file), "--arms", arms.BLIND]
    table.main([*call, "--episodes", "3"])
    records[arms.BLIND][arms.OPEN_LOOP] = {"rows": {"policy": None}}
    asked = {"asked": {"seed": 0, "steps": None, "eval-seed": 0}}
    assert json.loads(file.read_text()) == records | asked
    assert driven == ["training"]
    with pytest.raises(ValueError, match="'expert' drove 3 routes of 'day', but --episodes asks for 2"):
        table.main([*call, "--episodes", "2"])
    with pytest.raises(ValueError, match="--episodes=0 must be at least 1"):
        table.main([*call, "--episodes", "0"])
    with pytest.raises(ValueError, match=r"was begun with eval-seed 0, and not 4; give that, or another --json and"):
        table.main([*call, "--episodes", "3", "--eval-seed", "4"])


def test_a_file_of_something_else_is_refused(table, arms, tmp_path):
    file = tmp_path / "driving.json"
    file.write_text(json.dumps({"blind": 3}))
    with pytest.raises(ValueError, match="holds no figures of policies"):
        table.main(["--show", "--json", str(file)])


def test_sensors_that_break_do_so_on_half_as_many_routes_of_each_condition(table, arms, tmp_path):
    store, record = table.Store(tmp_path / "driving.json"), {"successes": [1] * 6}
    store.add(arms.ALL, arms.INTACT, record)
    options = type("Options", (), {"episodes": 5, "eval_seed": 1})()
    episodes, seed, routes = table.drives_of(arms.INTACT, options)
    assert (episodes, seed, routes) == (2, 1 + arms.OTHER_ROUTES, 6)
    assert store.holds(arms.ALL, arms.INTACT, routes)
    assert not store.holds(arms.ALL, "without LiDAR", routes)


def finished_routes(finished: int, of: int = 20) -> dict[str, Any]:
    """Routes of which the first ones were finished."""
    flags = [int(route < finished) for route in range(of)]
    figures = dict.fromkeys(("pdm_score", "collision", "red_lights", "off_road", "off_route", "timeout"), [0.0] * of)
    return {"successes": flags, "figures": figures | dict.fromkeys(("completion", "driving_score"), flags)}


@pytest.fixture
def measured(tmp_path) -> Path:
    plays = ("day", "night", "fog", "unseen town")
    opened = {"rows": {}, "recognised": {"road_iou": {"mean": 0.875, "ci95": [0.8, 0.9]}}}
    records = {
        "all sensors": {play: finished_routes(14) for play in plays} | {"nothing broken": finished_routes(9, 10)},
        "blind": {play: finished_routes(0) for play in plays},
        "expert": {play: finished_routes(19) for play in plays},
    }
    records["all sensors"]["without LiDAR"] = finished_routes(4, 10)
    for name in ("all sensors", "blind"):
        rows = {"policy": {"l2": {c: {t: {"mean": 1.5} for t in ("1", "2", "3", "mean")} for c in ("uniad", "stp3")}}}
        records[name]["open loop"] = {"rows": rows}
    records["all sensors"]["open loop"] |= {"recognised": opened["recognised"]}
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(records))
    return path


def test_rates_pairs_losses_and_what_is_recognised_are_told(table, arms, measured, tmp_path, capsys):
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


def test_a_picture_of_nothing_and_an_unknown_policy_are_refused(table, arms, tmp_path):
    empty = tmp_path / "none.json"
    with pytest.raises(ValueError, match=r"no policy has driven day, night, fog, unseen town; run one first"):
        table.main(["--json", str(empty), "--show", "--picture", str(tmp_path / "rates.png")])
    with pytest.raises(ValueError, match=r"--arms: 'sonar' is no policy; choose from blind; "):
        table.main(["--json", str(empty), "--arms", "sonar"])


def test_a_policy_that_goes_on_from_another_one_names_its_checkpoint(table, arms, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(table, "tempovla", lambda *words: called.append(words) or "{}")
    run = table.Run(tmp_path, "LiDAR, longer", arms.ARMS["LiDAR, longer"], 3)
    run.train("outputs/city", None)
    base, longer = called  # what it starts from is trained first
    assert "--base-checkpoint" not in base
    assert longer[longer.index("--base-checkpoint") + 1] == str(tmp_path / "LiDAR_3" / "checkpoint_latest")
    assert longer[longer.index("--training.train_steps") + 1] == "1500"
    assert "--base" not in longer
    run.train("outputs/city", None)
    assert len(called) == 2  # what is finished is not done again
