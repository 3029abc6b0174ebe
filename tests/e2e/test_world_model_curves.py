"""The benchmark of learning curves reads what runs left, and shows what its file holds; nothing is trained."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def curves(monkeypatch) -> Any:
    """The benchmark, which may run no command."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "world_model_curves", raising=False)
    module = importlib.import_module("world_model_curves")

    def refused(*words: str) -> str:
        raise AssertionError(f"a command is run: {words}")

    monkeypatch.setattr(module, "tempovla", refused)
    return module


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def finished(folder: Path, points: dict[int, list[dict[str, Any]]]) -> None:
    """What a run leaves that kept a checkpoint after so many control steps, with the episodes of its evaluation."""
    write(folder / "training.json", {"cpu_seconds": 7200.0})
    for index, (steps, episodes) in enumerate(points.items()):
        name = f"step_{index:08}"
        write(folder / "checkpoints" / name / "trainer.json", {"batches": {"experience": {"steps": steps}}})
        write(folder / "evaluations" / f"{name}.json", {"episodes": episodes})


def shown(capsys) -> list[list[str]]:
    """The table without its head."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]


def test_returns_by_steps_of_the_simulator_stand_beside_published_ones(curves, tmp_path, capsys):
    episodes = [{"total_reward": 100.0, "success": False}, {"total_reward": 300.0, "success": False}]
    finished(tmp_path / "cartpole-swingup_0", {0: episodes[:1], 50_000: episodes})
    words = ["--tasks", "cartpole-swingup", "--json", str(tmp_path / "curves.json")]
    curves.main([*words, "--out", str(tmp_path)])
    record = {"curve": {"0": 100.0, "100000": 200.0}, "cpu_s": 7200.0}
    assert json.loads((tmp_path / "curves.json").read_text()) == {"cartpole-swingup": {"0": record}}
    published = json.loads(curves.PUBLISHED.read_text())["tasks"]["cartpole-swingup"]
    ((task, steps, by_seed, mean, others, hours),) = shown(capsys)
    assert (task, steps, by_seed, mean, hours) == ("cartpole-swingup", "100,000", "200", "200", "2.0")
    first = [value for curve in published["TD-MPC2"] for step, value in curve if step == 100_000]
    assert others.split(", ")[0] == f"{sum(first) / len(first):.0f}"


def test_success_rates_of_meta_world_by_control_steps_are_a_table_of_their_own(curves, tmp_path, capsys):
    json_file = tmp_path / "curves.json"
    write(json_file, {"reacher-easy": {"0": {"curve": {"10": 3.0}, "cpu_s": 1.0}}})
    won, lost = {"total_reward": 9.0, "success": True}, {"total_reward": 8.0, "success": False}
    finished(tmp_path / "drawer-open-v3_4", {10_000: [lost, lost], 20_000: [won, won, won, lost]})
    words = ["--env", "metaworld", "--json", str(json_file)]
    curves.main([*words, "--seeds", "4", "--out", str(tmp_path)])
    row = ["drawer-open-v3", "20,000", "75%", "75%", "2.0"]
    assert shown(capsys) == [row]
    curves.main([*words, "--only-draw"])
    assert shown(capsys) == [row]
    assert json.loads(json_file.read_text())["drawer-open-v3"]["4"]["curve"] == {"10000": 0.0, "20000": 0.75}
    curves.main(["--json", str(json_file), "--only-draw"])
    assert [cells[0] for cells in shown(capsys)] == ["reacher-easy"]


def test_what_has_not_finished_is_said(curves, tmp_path, capsys):
    write(tmp_path / "curves.json", {"reacher-easy": {"0": {"curve": {}, "cpu_s": 1.0}}})
    curves.main(["--tasks", "reacher-easy", "--json", str(tmp_path / "curves.json"), "--only-draw"])
    assert shown(capsys) == [["reacher-easy", "", "no run has finished", "", "", ""]]
    with pytest.raises(ValueError, match="no such file; give that of runs, or run some without --only-draw"):
        curves.main(["--json", str(tmp_path / "nothing.json"), "--only-draw"])
    with pytest.raises(ValueError, match="--out is needed to run something"):
        curves.main(["--json", str(tmp_path / "curves.json")])
    write(tmp_path / "curves.json", {"reacher-easy": [3]})
    with pytest.raises(ValueError, match=r"'reacher-easy' holds no curves of seeds; remove it, or give another --json"):
        curves.main(["--json", str(tmp_path / "curves.json"), "--only-draw"])


def test_a_picture_has_the_published_curves_where_no_run_has_finished(curves, tmp_path, monkeypatch):
    plots = pytest.importorskip("matplotlib.pyplot")
    drawn = []
    monkeypatch.setattr(plots.Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    curves.draw({"reacher-easy": {}}, "unused.png", curves.PLACES["dmc"])
    curves.draw({"push-v3": {"0": {"curve": {"5": 0.5, "10": 1.0}}}}, "unused.png", curves.PLACES["metaworld"])
    (dmc,), (metaworld,) = (figure.axes for figure in drawn)
    assert [line.get_label() for line in dmc.lines] == [
        f"{name}, published" for name in ("TD-MPC2", "DreamerV3", "SAC")
    ]
    assert [line.get_xydata().tolist() for line in metaworld.lines] == [[[5, 0.5], [10, 1.0]]]
    assert (dmc.get_ylim(), metaworld.get_ylim()) == ((0, 1000), (0, 1))
    plots.close("all")
