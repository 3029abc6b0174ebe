"""The table of driving policies goes on with its file only where the routes are as many."""

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


def write_measured(table: Any, path: Path, episodes: int) -> dict[str, dict[str, Any]]:
    """What the expert and a blind policy did on all plays, in the file."""

    def measured(routes: int) -> dict[str, Any]:
        return table.record_of([(True, dict.fromkeys(FIGURES, 0.0) | dict.fromkeys(SCORES, 0.5))] * routes)

    records = {arm: {play: measured(episodes) for play in table.PLAYS} for arm in (table.EXPERT, table.BLIND)}
    del records[table.EXPERT][table.DEAF]
    path.write_text(json.dumps(records))
    return records


def test_what_is_measured_is_not_driven_again(table, tmp_path, monkeypatch):
    file, driven = tmp_path / "driving.json", []
    records = write_measured(table, file, 3)
    monkeypatch.setattr(table.Run, "train", lambda *_: driven.append("training"))
    monkeypatch.setattr(table.Run, "compare", lambda *_: {"rows": {"policy": None}})
    monkeypatch.setattr(table, "print_open_loop", lambda records: None)
    call = ["--data", "city", "--out", str(tmp_path), "--json", str(file), "--arms", table.BLIND]
    table.main([*call, "--episodes", "3"])
    records[table.BLIND][table.OPEN_LOOP] = {"rows": {"policy": None}}
    assert json.loads(file.read_text()) == records
    assert driven == ["training"]
    with pytest.raises(ValueError, match="'expert' drove 3 routes of 'day', but --episodes asks for 2"):
        table.main([*call, "--episodes", "2"])
    with pytest.raises(ValueError, match="--episodes=0 must be at least 1"):
        table.main([*call, "--episodes", "0"])


def test_a_file_of_something_else_is_refused(table, tmp_path):
    file = tmp_path / "driving.json"
    file.write_text(json.dumps({"blind": 3}))
    with pytest.raises(ValueError, match="holds no figures of policies"):
        table.main(["--show", "--json", str(file)])


def test_sensors_that_break_do_so_on_half_as_many_routes_of_each_condition(table, tmp_path):
    store, record = table.Store(tmp_path / "driving.json"), {"successes": [1] * 6}
    store.add(table.ALL, table.INTACT, record)
    options = type("Options", (), {"episodes": 5, "eval_seed": 1})()
    episodes, seed, routes = table.drives_of(table.INTACT, options)
    assert (episodes, seed, routes) == (2, 1 + table.OTHER_ROUTES, 6)
    assert store.holds(table.ALL, table.INTACT, routes)
    assert not store.holds(table.ALL, "without LiDAR", routes)
