"""SA-GR's benchmarks of horizons and of video run these commands, and read this of them; nothing is trained."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch) -> Any:
    """Import a benchmark whose commands are noted in `calls`, and leave what they would leave."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    calls: list[tuple[str, ...]] = []

    def command(*words: str) -> str:
        calls.append(words)
        if words[0] == "train":
            out = Path(words[words.index("--out") + 1])
            figures = {"train_step": 4, "phase": "sagr"}
            figures |= {f"val_debug/sagr/mse_dyn{k}": 0.1 for k in ("", "_k2")}
            figures |= {f"val_debug/sagr/persistence{k}": 0.4 for k in ("", "_k2")}
            out.mkdir(parents=True)
            (out / "metrics.jsonl").write_text(json.dumps(figures) + "\n")
            return json.dumps({"cpu_seconds": 1.0})
        results = Path(words[words.index("--json") + 1])
        results.parent.mkdir()
        episodes = [{"task": "push-v3", "success": True}] * int(words[words.index("--episodes") + 1])
        results.write_text(json.dumps({"episodes": episodes}))
        results.with_suffix(".timing.json").write_text(json.dumps({"policy_latency_ms": {"median": 1.0}}))
        return ""

    def loaded(name: str) -> Any:
        for module in ("sagr_arms", "sagr_records", name):
            monkeypatch.delitem(sys.modules, module, raising=False)
        arms = importlib.import_module("sagr_arms")
        benchmark = importlib.import_module(name)
        for module in (arms, benchmark):
            monkeypatch.setattr(module, "tempovla", command)
        benchmark.calls = calls
        return benchmark

    return loaded


def word_after(words: tuple[str, ...], option: str) -> str:
    return words[words.index(option) + 1]


def test_the_arm_with_a_video_sees_few_actions_and_all_frames(load, tmp_path, capsys):
    video = load("sagr_video")
    (tmp_path / "data").mkdir()
    words = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "video.json")]
    video.main([*words, "--demos", "3", "--episodes", "2", "--arms", f"{video.FLOW};{video.INVERSE}"])
    alone, _, together, played = video.calls
    assert word_after(alone, "--data.demos_per_task") == "3"
    config = yaml.safe_load(Path(word_after(together, "--config")).read_text())
    robot, frames = config["data"]["mixture"]
    assert (robot["demos_per_task"], robot.get("actions", True)) == (3, True)
    assert (frames["demos_per_task"], frames["actions"]) == (None, False)
    plain = yaml.safe_load(video.PLACE.config_file.read_text())
    assert config["training"]["batch_size"] == 2 * plain["training"]["batch_size"]
    assert word_after(together, "--model.inverse_weight") == "1.0"
    assert word_after(played, "--dataset-name") == "robot"
    assert "| + video, by an inverse model | 100%" in capsys.readouterr().out
    video.main([*words, "--demos", "3", "--episodes", "2", "--arms", f"{video.FLOW};{video.INVERSE}"])
    assert len(video.calls) == 4  # what is finished is not done again


def test_a_video_comparison_that_was_not_run_is_told(load, tmp_path):
    video = load("sagr_video")
    with pytest.raises(ValueError, match="no such file; give that of a comparison that was run"):
        video.main(["--show", "--json", str(tmp_path / "nothing.json")])
    with pytest.raises(ValueError, match="--arms: 'nothing' is no arm"):
        video.main(["--arms", "nothing", "--json", str(tmp_path / "nothing.json")])


def test_horizons_are_read_from_the_last_validation(load, tmp_path, monkeypatch, capsys):
    horizons = load("sagr_horizons")
    (tmp_path / "data").mkdir()
    words = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--horizons", "8,2"]
    monkeypatch.setattr(sys, "argv", ["sagr_horizons.py", *words, "--json", str(tmp_path / "horizons.json")])
    horizons.main()
    (trained,) = horizons.calls
    assert word_after(trained, "--model.world_target_encoder") == "ema"  # as a word, without quotation marks
    assert word_after(trained, "--model.horizons") == "[2]"
    printed = capsys.readouterr().out
    assert "| 2 |" in printed
    assert "0.25" in printed
