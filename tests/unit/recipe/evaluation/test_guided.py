"""Evaluations in a simulator that guides a policy and measures its episodes: what is told, written, compared, shown."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
from tests.in_process import simulators_in_process
from tests.listening import Listener

pytest.importorskip("gymnasium")

from tests.toy_simulator import GuidedConfig

from tempovla.env.registry import SIMULATOR_REGISTRY
from tempovla.recipe.evaluation import closed_loop
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.comparison import compare_evaluations, compare_figures
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.report.page import write_report
from tempovla.report.tables import comparison_table, score_table
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.timeline import Bundle

CONFIG = EvaluationConfig(episodes=3, seed=1, num_envs=2, workers=1, max_steps=30)


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """A function that evaluates a policy that does what it is told."""
    listener = Listener()
    controller = listener.controller()
    known = {"instructions": ["wait", "go left", "go right"]}
    bundle = Bundle("listener", {}, listener.windows(), GuidedConfig.embodiment, {"steps": []}, {}, provenance=known)
    opened = SimpleNamespace(bundle=bundle, actor=lambda: controller, device="cpu", identity={"policy": "listener"})
    monkeypatch.setattr(closed_loop, "open_policy", lambda *arguments: opened)
    monkeypatch.setattr(closed_loop, "check_has_learned_to_act", lambda *arguments: None)
    monkeypatch.setattr(closed_loop, "check_body", lambda *arguments: None)
    monkeypatch.setitem(SIMULATOR_REGISTRY, "guided", (GuidedConfig, "a guided line"))

    def evaluate(name: str, **settings):
        file = tmp_path / name / "results.json"
        with simulators_in_process():
            results = evaluate_checkpoint(
                tmp_path, GuidedConfig(), ["left", "right"], CONFIG, outputs=Outputs(results=file), **settings
            )
        return results, file

    return evaluate


def test_the_simulator_guides_and_what_it_measures_is_written(evaluated):
    results, file = evaluated("right")
    assert results["mean"]["success"] > 0
    assert {episode["instruction"] for episode in results["episodes"]} == {"wait"}
    assert results["mean"]["figures"]["hasty"] == {"mean": 0.0, "ci95": [0.0, 0.0]}
    moved = [episode["figures"]["moved"] for episode in results["episodes"] if episode["task"] == "left"]
    assert results["tasks"]["left"]["figures"]["moved"]["mean"] == pytest.approx(sum(moved) / 3)
    assert json.loads(file.read_text()) == json.loads(json.dumps(results))


def test_a_wrong_instruction_is_what_the_guide_says_when_it_is_wrong(evaluated):
    results, _ = evaluated("wrong", wrong_instruction=True)
    assert results["mean"]["success"] == 0
    assert results["simulator"]["wrong_commands"] is True
    assert {episode["instruction"] for episode in results["episodes"]} == {"wait"}
    assert results["mean"]["figures"]["hasty"]["mean"] == 0


def test_the_wrong_guide_is_a_baseline_of_the_right_one(evaluated, tmp_path):
    _, right = evaluated("right")
    _, wrong = evaluated("wrong", wrong_instruction=True)
    page = write_report(right.parent, tmp_path / "report.html", baselines={"wrong_instruction": wrong.parent})
    assert "given a wrong instruction" in page.read_text()
    assert "was evaluated on other episodes" not in page.read_text()
    with pytest.raises(ValueError, match=r"right/results\.json: its simulator said what is right; .* true"):
        write_report(wrong.parent, tmp_path / "report.html", baselines={"wrong_instruction": right.parent})


def test_an_instruction_that_was_asked_for_is_kept(evaluated):
    results, _ = evaluated("told", instruction="go left")
    assert {episode["instruction"] for episode in results["episodes"]} == {"go left"}
    assert results["mean"]["figures"]["hasty"]["mean"] == 3


def test_an_interrupted_evaluation_keeps_what_was_measured(evaluated, monkeypatch):
    whole, _ = evaluated("whole")
    written = closed_loop.write_json

    def killed(path, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(closed_loop, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluated("again")
    monkeypatch.setattr(closed_loop, "write_json", written)
    monkeypatch.setattr(closed_loop, "run_specs", lambda *arguments: pytest.fail("all episodes were kept"))
    logging.getLogger("tempovla").setLevel(logging.WARNING)
    again, _ = evaluated("again")
    assert again["episodes"] == whole["episodes"]
    assert again["tasks"] == whole["tasks"]


def test_two_evaluations_are_compared_by_what_was_measured(evaluated):
    _, first = evaluated("first")
    _, second = evaluated("second", instruction="go left")
    comparison = compare_evaluations(first, second)
    hasty = comparison["figures"]["hasty"]
    assert (hasty["a"], hasty["b"], hasty["difference"]) == (0, 3, 3)
    assert hasty["ci95"] == pytest.approx([3, 3])
    assert hasty["p_value"] == 2 / 2**6
    lines = comparison_table(comparison)
    assert [line.split() for line in lines if line.startswith("hasty")] == [
        ["hasty", "0", "3", "+3", "[+3,", "+3]", "0.031"]
    ]


def test_the_report_shows_what_was_measured_beside_a_baseline_and_the_differences_of_the_pairs(evaluated, tmp_path):
    _, file = evaluated("policy")
    _, other = evaluated("other", instruction="go left")
    given = {"baselines": {"blind": other}, "compare": compare_figures}
    page = write_report(file.parent, tmp_path / "report.html", **given).read_text()
    row = '<th scope="row">hasty</th><td>0</td><td>3</td><td>-3<small>-3 to -3</small></td><td>0.031</td>'
    assert "Beside the baseline: blind" in page
    assert row in page
    told = json.loads(other.read_text())
    for episode in told["episodes"]:
        episode["seed"] += 100
    apart = tmp_path / "apart.json"
    apart.write_text(json.dumps(told))
    assert compare_figures(apart, file) == {}
    given = {"baselines": {"blind": apart}, "compare": compare_figures}
    assert "Beside the baseline" not in write_report(file.parent, tmp_path / "report.html", **given).read_text()
    told = json.loads(other.read_text())
    told["simulator"]["town"] = "elsewhere"
    apart.write_text(json.dumps(told))
    page = write_report(file.parent, tmp_path / "report.html", **given).read_text()
    assert "was evaluated on other episodes than the policy: town is none here and elsewhere there" in page
    assert "Beside the baseline" not in page


def test_a_figure_that_is_no_number_is_refused_by_name(evaluated):
    _, file = evaluated("broken")
    results = json.loads(file.read_text())
    results["episodes"][1]["figures"]["hasty"] = "much"
    other = file.with_name("other.json")
    other.write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"other\.json: episodes\[1\]\.figures\.hasty is 'much'; it must be a finite"):
        compare_evaluations(file, other)
    results["episodes"][1]["figures"] = 3
    other.write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"other\.json: episodes\[1\]\.figures is 3; it must be an object"):
        compare_evaluations(file, other)


def test_tables_and_the_report_show_what_was_measured(evaluated, tmp_path):
    results, file = evaluated("shown")
    lines = score_table(results)
    start = lines.index("measured by the simulator, mean of the episodes [95%]:")
    assert lines[start + 1].split() == ["left", "right", "mean"]
    assert lines[start + 2].split() == ["hasty"] + ["0", "[0,", "0]"] * 3
    page = write_report(file.parent, tmp_path / "report.html").read_text()
    assert "What the simulator measured" in page
    assert '<th scope="row">hasty</th><td>0<small>0 to 0</small></td>' in page
    results["tasks"]["left"]["figures"]["hasty"]["ci95"] = [1, 0]
    file.write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"tasks\.left\.figures\.hasty\.ci95 is \[1, 0\]; it must be \[low, high\]"):
        write_report(file.parent, tmp_path / "report.html")
