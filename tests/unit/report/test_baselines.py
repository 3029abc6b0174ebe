"""Other evaluations beside the policy's."""

import json

import pytest

from tempovla.report.baselines import with_baselines
from tempovla.report.results import cautions
from tempovla.report.run import Rate, read_results


def evaluation(folder, mean=None, **tasks):
    """A results.json; tasks are successes of ten episodes and instruction."""
    blocks = {
        name: {"success": solved / 10, "episodes": 10, "ci95": [0.0, 1.0], "instruction": told}
        for name, (solved, told) in tasks.items()
    }
    folder.mkdir()
    results = {"tasks": blocks} | ({} if mean is None else {"mean": mean})
    (folder / "results.json").write_text(json.dumps(results))
    return folder


POOLED = {"success": 0.75, "episodes": 20, "ci95": [0.5, 0.9]}


@pytest.fixture
def policy(tmp_path):
    return read_results(evaluation(tmp_path / "eval", POOLED, milk=(9, "take milk"), soup=(6, "take soup")))


def test_rates_with_episodes_and_intervals_are_put_beside_the_policys(tmp_path, policy):
    blind = evaluation(tmp_path / "blind", POOLED | {"success": 0.15}, soup=(1, "take soup"), milk=(2, "take milk"))
    wrong = evaluation(tmp_path / "wrong", milk=(0, "take soup"), soup=(3, "take milk"))

    results = with_baselines(policy, {"blind": blind, "wrong_instruction": wrong / "results.json"})

    milk, soup = results.tasks
    assert (milk.policy.success, soup.policy.success) == (0.9, 0.6)
    assert (milk.blind, soup.blind) == (Rate(0.2, 10, (0.0, 1.0)), Rate(0.1, 10, (0.0, 1.0)))
    assert (milk.wrong_instruction, soup.wrong_instruction) == (Rate(0.0, 10, (0.0, 1.0)), Rate(0.3, 10, (0.0, 1.0)))
    assert results.mean.policy == Rate(0.75, 20, (0.5, 0.9))
    assert results.mean.blind == Rate(0.15, 20, (0.5, 0.9))
    assert results.mean.wrong_instruction == Rate(0.15, 20, None)
    assert milk.instruction == "take milk"


def test_a_mean_over_other_tasks_is_taken_anew_without_an_interval(tmp_path):
    scope = POOLED | {"tasks": ["milk"]}
    policy = read_results(evaluation(tmp_path / "eval", scope, milk=(9, "take milk"), soup=(6, "take soup")))
    blind = evaluation(tmp_path / "blind", POOLED, milk=(2, "take milk"), soup=(1, "take soup"))

    assert with_baselines(policy, {"blind": blind}).mean.blind == Rate(0.2, 10, None)


def test_evaluations_of_other_tasks_are_refused(tmp_path, policy):
    fewer = evaluation(tmp_path / "fewer", milk=(2, "take milk"))
    more = evaluation(tmp_path / "more", milk=(2, ""), soup=(2, ""), tea=(2, ""))
    with pytest.raises(ValueError, match=r"--blind .*fewer/results.json lacks the task 'soup', unlike the run's own"):
        with_baselines(policy, {"blind": fewer})
    with pytest.raises(ValueError, match=r"--wrong_instruction .*more/results.json has the task 'tea', unlike the run"):
        with_baselines(policy, {"wrong_instruction": more})


def test_an_evaluation_that_was_told_the_right_words_is_no_wrong_instruction(tmp_path, policy):
    right = evaluation(tmp_path / "right", milk=(9, "take milk"), soup=(9, "take soup"))
    with pytest.raises(ValueError, match="milk was told 'take milk', as in the run itself; give an evaluation with"):
        with_baselines(policy, {"wrong_instruction": right})


def test_a_baseline_of_other_episodes_is_named_as_such(tmp_path):
    calm, moved = (evaluation(tmp_path / name, POOLED, milk=(9, "take milk")) for name in ("calm", "moved"))
    for folder, more in ((calm, {}), (moved, {"disturbance": {"step": 20, "shift_m": 0.05}})):
        file = folder / "results.json"
        simulator = {"name": "metaworld", "init_states": "random", **more}
        file.write_text(json.dumps({**json.loads(file.read_text()), "simulator": simulator, "seed": len(more)}))
    ours = read_results(moved)
    assert with_baselines(ours, {"blind": calm}).remarks == (
        "The blind policy was evaluated on other episodes than the policy: disturbance is step 20, shift_m 0.05 here "
        "and none there; seed is 1 here and 0 there.",
    )
    assert with_baselines(ours, {"blind": moved}).remarks == ()
    assert "evaluated on other episodes" in cautions(with_baselines(ours, {"blind": calm}))[0]


@pytest.mark.parametrize("name", ["blind", "wrong_instruction"])
def test_the_run_itself_is_no_baseline_of_it(tmp_path, policy, name):
    (tmp_path / "link").symlink_to("eval")
    for path in (tmp_path / "eval", tmp_path / "eval/results.json", tmp_path / "link"):
        with pytest.raises(
            ValueError, match=rf"^--{name} {path} is the evaluation that the report is about; give that"
        ):
            with_baselines(policy, {name: path}, tmp_path / "eval/results.json")


def test_what_is_no_results_json_is_refused(tmp_path, policy):
    with pytest.raises(ValueError, match=r"absent.json does not exist"):
        with_baselines(policy, {"blind": tmp_path / "absent.json"})
    (tmp_path / "other.json").write_text('{"mse": 0.1}')
    with pytest.raises(ValueError, match=r"other.json: tasks is missing"):
        with_baselines(policy, {"blind": tmp_path / "other.json"})
