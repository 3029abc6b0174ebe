"""Reading a run directory: values as they stand, one-line errors where they cannot."""

import json
import math

import pytest

from tempovla.report.run import Rate, read_clips, read_curves, read_results


def change(folder, **changes):
    path = folder / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_results_keep_every_value(bare_run):
    results = read_results(bare_run)

    push = results.tasks[-1]
    assert push.policy == Rate(0.65, 20, (0.4264, 0.7618))
    assert push.blind == Rate(0.05, 20, (0.0, 0.1618))
    assert push.instruction == "push the puck to the goal"
    assert [task.counted for task in results.tasks] == [True, True, True, True, False]
    assert results.mean.policy == Rate(0.925, 80, (0.8508, 0.9642))
    assert results.stages[0].cpu_seconds == 121.4
    assert results.seed == 7


def test_times_may_lie_in_a_file_of_their_own(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"tasks": {"a": {"success": 0.5, "episodes": 4}}, "seed": 7}))
    timing = {"cpu_seconds": 3.5, "wall_seconds": 2.5, "command": "tempovla eval", "machine": {"device": "cpu"}}
    (tmp_path / "results.timing.json").write_text(json.dumps(timing))

    results = read_results(tmp_path)

    assert (results.cpu_seconds, results.wall_seconds, results.seed) == (3.5, 2.5, 7)
    assert (results.command, results.machine) == ("tempovla eval", {"device": "cpu"})


def test_mean_of_all_tasks_is_taken_where_the_file_gives_none(tmp_path):
    tasks = {"a": {"success": 0.5, "episodes": 4, "blind": 0.25}, "b": {"success": 1.0, "episodes": 4, "blind": 0.75}}
    (tmp_path / "results.json").write_text(json.dumps({"tasks": tasks}))

    mean = read_results(tmp_path).mean

    assert mean.policy == Rate(0.75, 8, None)
    assert mean.blind == Rate(0.5, None, None)
    assert mean.wrong_instruction is None


def test_successes_are_counted_only_where_they_are_whole():
    assert Rate(0.95, 20).successes == 19
    assert Rate(0.93, 20).successes is None
    assert Rate(0.95).successes is None


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({}, "tasks is empty"),
        ({"a": 3}, "tasks.a is 3; it must be an object"),
        ({"a": {"episodes": 4}}, "tasks.a.success is missing"),
        ({"a": {"success": 0.5}}, "tasks.a.episodes is missing"),
        ({"a": {"success": 1.2, "episodes": 4}}, "tasks.a.success is 1.2; it must be a fraction"),
        ({"a": {"success": math.nan, "episodes": 4}}, "tasks.a.success is nan"),
        ({"a": {"success": True, "episodes": 4}}, "tasks.a.success is True"),
        ({"a": {"success": 0.5, "episodes": 0}}, "tasks.a.episodes is 0"),
        ({"a": {"success": 0.5, "episodes": 4, "ci95": [0.9, 0.1]}}, r"tasks.a.ci95 is \[0.9, 0.1\]"),
        ({"a": {"success": 0.5, "episodes": 4, "blind": "low"}}, "tasks.a.blind is 'low'"),
        ({"a": {"success": 0.5, "episodes": 4, "solved_at_once": 0.5}}, "tasks.a.solved_at_once is 0.5; it must be"),
        ({"a": {"success": 0.5, "episodes": 4, "solved_at_once": 3}}, "tasks.a.solved_at_once is 3; it must be"),
    ],
)
def test_bad_tasks_are_one_line_with_file_and_key(bare_run, tasks, words):
    change(bare_run, tasks=tasks, mean={"success": 0.5})

    with pytest.raises(ValueError, match=words) as error:
        read_results(bare_run)

    assert str(bare_run / "results.json") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cpu_seconds": -1}, "cpu_seconds is -1"),
        ({"wall_seconds": "long"}, "wall_seconds is 'long'"),
        ({"stages": [{"name": "train"}]}, r"stages\[0\].cpu_seconds is None; it must be a number of seconds"),
        ({"stages": {"train": 3}}, "stages is {'train': 3}; it must be a list"),
        ({"versions": ["torch"]}, r"versions is \['torch'\]; it must be an object"),
        ({"seed": "seven"}, "seed is 'seven'; it must be a whole number"),
        ({"command": ["tempovla"]}, "command is .*; it must be text"),
        ({"mean": {"success": 0.5, "tasks": ["fly"]}}, "mean.tasks names 'fly'"),
        ({"mean": {"success": 0.5, "tasks": [{}]}}, r"mean.tasks names \{\}, which is not"),
    ],
)
def test_bad_values_are_one_line_with_file_and_key(bare_run, changes, words):
    change(bare_run, **changes)

    with pytest.raises(ValueError, match=words):
        read_results(bare_run)


def test_missing_and_broken_results_name_the_file_and_the_remedy(tmp_path):
    with pytest.raises(
        ValueError, match=r"results.json does not exist; pass the folder of `tempovla demo`, of an eval"
    ):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"tasks": {')
    with pytest.raises(ValueError, match=r"results.json: not readable as JSON"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match=r"results.json is not an object"):
        read_results(tmp_path)


def line(step: int, total: float, **changes) -> str:
    return json.dumps({"train_step": step, "phase": "p", "total": total} | changes) + "\n"


def test_curves_take_the_run_from_the_folder_and_the_rest_from_the_lines(complete_run):
    curves = {(curve.run, curve.phase, curve.split): curve.figures for curve in read_curves(complete_run)}

    assert {key[:2] for key in curves} == {(run, phase) for run in ("train", "blind") for phase in ("phase1", "phase2")}
    assert len(curves["train", "phase1", "train"]["jepa_mse"]) == 200
    assert len(curves["train", "phase1", "validation"]["jepa_mse"]) == 10
    assert curves["train", "phase2", "train"]["lr"][-1] == (1000, 0.0)
    assert "cpu_s" not in curves["train", "phase2", "train"]


def test_metrics_at_the_top_are_a_run_called_training(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(line(1, 3.0, flow=2) + line(2, 1.5))

    (curve,) = read_curves(tmp_path)

    assert (curve.run, curve.phase, curve.split) == ("training", "p", "train")
    assert curve.figures == {"total": [(1, 3.0), (2, 1.5)], "flow": [(1, 2)]}


def test_curves_of_other_folders_are_added_under_their_names_and_none_twice(tmp_path):
    for folder in ("eval/run", "a/run/p", "b/run/p", "blind"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "metrics.jsonl").write_text(line(1, 3.0))
    run, *more = (tmp_path / folder for folder in ("eval", "a/run", "blind", "b/run", "a", "eval"))

    curves = read_curves(run, more)

    assert [curve.run for curve in curves] == ["run", str(tmp_path / "a" / "run"), "blind", str(tmp_path / "b" / "run")]
    assert all(curve.figures == {"total": [(1, 3.0)]} for curve in curves)


def test_a_folder_without_the_curves_asked_for_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"--curves .*absent holds no metrics.jsonl; give the folder of a training"):
        read_curves(tmp_path, [tmp_path / "absent"])


def test_half_a_line_left_by_a_killed_run_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(line(1, 3.0) + line(2, 1.5)[:20])

    (curve,) = read_curves(tmp_path)

    assert curve.figures == {"total": [(1, 3.0)]}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("nonsense\n", "line 2: not readable as JSON"),
        ("[1]\n", r"line 2: holds a list, not an object"),
        ('{"phase": "p"}\n', "line 2.train_step is None; it must be a whole number"),
        (line(2, math.nan), "line 2.total is nan; it must be a finite number"),
        (line(2, 1.0, flow="low"), "line 2.flow is 'low'"),
    ],
)
def test_broken_metric_lines_are_named_by_number(tmp_path, bad, words):
    (tmp_path / "metrics.jsonl").write_text(line(1, 3.0) + bad)

    with pytest.raises(ValueError, match=words):
        read_curves(tmp_path)


def test_clips_keep_every_value(complete_run):
    clips = read_clips(complete_run)

    assert len(clips) == 15
    assert clips[2].kind == "wrong_instruction"
    assert (clips[2].task, clips[2].instruction) == ("button-press-topdown-v3", "open the drawer")
    assert (clips[2].success, clips[2].seed, clips[2].steps) == (False, 1002, 60)
    assert clips[2].path.is_file()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"task": "a", "file": "a.mp4"}, r"\[0\].success is None; it must be true or false"),
        ({"task": "a", "success": 1, "file": "a.mp4"}, r"\[0\].success is 1; it must be true or false"),
        ({"task": "a", "success": True}, r"\[0\].file is None; it must be text"),
        ({"task": "a", "success": True, "file": "a.mp4", "kind": "blind"}, r"\[0\].kind is 'blind'; choose from"),
        ("a.mp4", r"\[0\] is 'a.mp4'; it must be an object"),
    ],
)
def test_bad_index_entries_are_named_by_number(tmp_path, entry, words):
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "index.json").write_text(json.dumps([entry]))

    with pytest.raises(ValueError, match=words):
        read_clips(tmp_path)
