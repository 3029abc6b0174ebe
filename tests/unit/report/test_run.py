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
        ({"stages": [{"name": "train"}]}, r"stages\[0\].* is missing"),
        ({"stages": {"train": 3}}, "stages is {'train': 3}; it must be a list"),
        ({"versions": ["torch"]}, r"versions is \['torch'\]; it must be an object"),
        ({"seed": "seven"}, "seed is 'seven'; it must be a whole number"),
        ({"command": ["tempovla"]}, "command is .*; it must be text"),
        ({"mean": {"success": 0.5, "tasks": ["fly"]}}, "mean.tasks names 'fly'"),
    ],
)
def test_bad_values_are_one_line_with_file_and_key(bare_run, changes, words):
    change(bare_run, **changes)

    with pytest.raises(ValueError, match=words):
        read_results(bare_run)


def test_missing_and_broken_results_name_the_file_and_the_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"results.json does not exist; pass the folder that `tempovla demo`"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"tasks": {')
    with pytest.raises(ValueError, match=r"results.json is not readable JSON"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match=r"results.json is not an object"):
        read_results(tmp_path)


def test_curves_take_run_and_phase_from_the_folders(complete_run):
    curves = {(curve.run, curve.phase): curve for curve in read_curves(complete_run)}

    assert set(curves) == {(run, phase) for run in ("train", "blind") for phase in ("phase1", "phase2")}
    assert len(curves["train", "phase1"].metrics["jepa_mse"]) == 201
    assert curves["train", "phase2"].metrics["lr"][0] == (0, 0.001)


def test_steps_written_again_after_a_resume_count_once(tmp_path):
    lines = ['{"train_step": 0, "total": 3.0}', '{"train_step": 10, "total": 2.0}', '{"train_step": 10, "total": 1.5}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")

    (curve,) = read_curves(tmp_path)

    assert (curve.run, curve.phase) == ("", "training")
    assert curve.metrics == {"total": [(0, 3.0), (10, 1.5)]}


def test_half_a_line_left_by_a_killed_run_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"train_step": 0, "total": 3.0}\n{"train_step": 10, "to')

    (curve,) = read_curves(tmp_path)

    assert curve.metrics == {"total": [(0, 3.0)]}


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"total": 1.0}', '{"train_step": "1", "total": 1.0}'])
def test_broken_metric_lines_are_named_by_number(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"train_step": 0, "total": 3.0}}\n{line}\n')

    with pytest.raises(ValueError, match=r"metrics.jsonl:2 .*; delete the line"):
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
        ({"task": "a", "file": "a.mp4"}, r"\[0\].* is missing"),
        ({"task": "a", "success": 1, "file": "a.mp4"}, r"\[0\].success is 1; it must be true or false"),
        ({"task": "a", "success": True}, r"\[0\].* is missing"),
        ({"task": "a", "success": True, "file": "a.mp4", "kind": "blind"}, r"\[0\].kind is 'blind'; choose from"),
        ("a.mp4", r"\[0\] is 'a.mp4'; it must be an object"),
    ],
)
def test_bad_index_entries_are_named_by_number(tmp_path, entry, words):
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "index.json").write_text(json.dumps([entry]))

    with pytest.raises(ValueError, match=words):
        read_clips(tmp_path)
