"""Two result files, episode by episode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tempovla.recipe.evaluation.comparison import compare_evaluations

TASKS = ("milk", "soup")


def write(
    path: Path, solved: dict[str, str], *, suite: str = "libero_object", seed: int = 0, **settings: object
) -> Path:
    """A results.json whose episodes end as the words say: "+" solved, "-" not."""
    episodes = [
        {"task": task, "seed": seed + index, "init_state": index, "success": end == "+", "steps": 9}
        for task, ends in solved.items()
        for index, end in enumerate(ends)
    ]
    simulator = {"name": "libero", "suite": suite, "rendering": "fast"} | settings
    path.write_text(json.dumps({"simulator": simulator, "execution_horizon": 6, "episodes": episodes}))
    return path


def write_returns(path: Path, returns: dict[str, list[float]], seed: int = 0) -> Path:
    """A results.json whose episodes reach these returns."""
    episodes = [
        {"task": task, "seed": seed + index, "success": False, "steps": 9, "total_reward": each}
        for task, told in returns.items()
        for index, each in enumerate(told)
    ]
    path.write_text(json.dumps({"simulator": {"name": "dmc"}, "score": "return", "episodes": episodes}))
    return path


def test_episodes_are_paired_by_task_initial_state_and_seed(tmp_path):
    first = write(tmp_path / "a.json", {"milk": "++--", "soup": "++++"})
    second = write(tmp_path / "b.json", {"soup": "+++-", "milk": "++++"})
    comparison = compare_evaluations(first, second)
    milk, soup = (comparison["tasks"][task] for task in TASKS)
    assert (milk["a"], milk["b"], milk["only_a"], milk["only_b"], milk["pairs"]) == (0.5, 1.0, 0, 2, 4)
    assert (soup["difference"], soup["only_a"], soup["only_b"]) == (-0.25, 1, 0)
    assert (comparison["all"]["both"], comparison["all"]["p_value"]) == (5, 1.0)
    assert comparison["episodes"] == {"paired": 8, "a": 8, "b": 8}
    assert comparison["remarks"] == []
    assert comparison["verdict"].startswith("no evidence of a difference yet: +12.5 points")


def test_what_else_differs_is_said(tmp_path):
    first = write(tmp_path / "a.json", {"milk": "++--"})
    second = write(tmp_path / "b.json", {"milk": "++"}, rendering="exact")
    assert compare_evaluations(first, second)["remarks"] == [
        "rendering is fast in A and exact in B",
        "2 episodes are in both files, of 4 in A and 2 in B",
    ]


def test_other_settings_of_the_policy_are_said(tmp_path):
    files = [write(tmp_path / f"{name}.json", {"milk": "+-"}) for name in "ab"]
    for path, told in zip(files, ({"plans": False}, {"plans": True, "planner": {"kind": "cem"}}), strict=True):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model": told}))
    assert compare_evaluations(*files)["remarks"] == [
        "model.plans is False in A and True in B",
        "model.planner.kind is as trained in A and cem in B",
    ]


def test_results_that_share_nothing_are_refused(tmp_path):
    first = write(tmp_path / "a.json", {"milk": "++"})
    with pytest.raises(ValueError, match=r"b\.json of libero_goal: no episodes to compare; give two of one suite"):
        compare_evaluations(first, write(tmp_path / "b.json", {"milk": "++"}, suite="libero_goal"))
    with pytest.raises(ValueError, match=r"share no episode .* evaluate both with the same seed"):
        compare_evaluations(first, write(tmp_path / "b.json", {"milk": "++"}, seed=50))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ('{"tasks": {}}', "holds no list of episodes"),
        ('{"episodes": [{"task": "milk"}]}', r"episodes\[0\]: episode.seed is None; it must be"),
        ('{"episodes": [{"task": "milk", "seed": 1, "success": 1}]}', r"success is 1; it must be true or false"),
    ],
)
def test_files_that_are_no_evaluation_are_refused(tmp_path, text, message):
    (tmp_path / "b.json").write_text(text)
    first = write(tmp_path / "a.json", {"milk": "++"})
    if "suite" not in text:
        first.write_text(json.dumps({"episodes": json.loads(first.read_text())["episodes"]}))
    with pytest.raises(ValueError, match=message):
        compare_evaluations(first, tmp_path / "b.json")


def test_returns_are_compared_episode_by_episode(tmp_path):
    first = write_returns(tmp_path / "a.json", {"reach": [1, 2, 3, 4, 5, 6], "walk": [10, 20, 30]})
    second = write_returns(tmp_path / "b.json", {"walk": [11, 22, 29], "reach": [2, 3, 4, 5, 6, 7]})
    comparison = compare_evaluations(first, second)
    assert comparison["score"] == "return"
    assert comparison["tasks"]["reach"] == {
        "a": 3.5,
        "b": 4.5,
        "difference": 1.0,
        "ci95": [1.0, 1.0],
        "p_value": 2 / 64,
        "exact": True,
        "pairs": 6,
    }
    walk = comparison["tasks"]["walk"]
    assert (walk["a"], walk["ci95"], walk["pairs"]) == (20.0, None, 3)
    assert walk["difference"] == pytest.approx(2 / 3)
    assert walk["p_value"] == 6 / 8
    everything = comparison["all"]
    assert (everything["a"], everything["pairs"]) == (11.75, 9)
    assert everything["difference"] == pytest.approx(5 / 6)
    assert everything["p_value"] == 2 * (1 + 1 + 6 + 15 + 1) / 512
    assert comparison["remarks"] == [
        "walk: only 3 pairs: the smallest p-value that could come is 0.25, so no difference can be significant"
    ]
    assert comparison["verdict"].startswith("no evidence of a difference yet: +0.8 [")


def test_a_single_pair_of_returns_proves_nothing(tmp_path):
    first, second = (write_returns(tmp_path / f"{name}.json", {"walk": [each]}) for name, each in (("a", 1), ("b", 9)))
    comparison = compare_evaluations(first, second)
    assert comparison["remarks"] == [
        "only 1 pair: the smallest p-value that could come is 1, so no difference can be significant"
    ]
    assert comparison["all"]["p_value"] == 1.0


def test_a_return_is_not_compared_with_a_success(tmp_path):
    first = write_returns(tmp_path / "a.json", {"walk": [1.0]})
    result = json.loads(first.read_text())
    second = tmp_path / "b.json"
    second.write_text(json.dumps({name: value for name, value in result.items() if name != "score"}))
    with pytest.raises(ValueError, match=r"a\.json is scored by the return, but .*b\.json by the success; give two of"):
        compare_evaluations(first, second)
    second.write_text(json.dumps(result | {"score": "luck"}))
    with pytest.raises(ValueError, match=r"b\.json: score is 'luck'; it must be success or return"):
        compare_evaluations(first, second)


@pytest.mark.parametrize(("told", "message"), [("NaN", "total_reward is nan; it must"), (None, "must be a number")])
def test_returns_that_are_no_numbers_are_refused(tmp_path, told, message):
    first = write_returns(tmp_path / "a.json", {"walk": [1.0]})
    second = write_returns(tmp_path / "b.json", {"walk": [told]})
    with pytest.raises(ValueError, match=message):
        compare_evaluations(first, second)
