"""Text of commands: tables of success, errors, comparisons and diagnoses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tempovla.report.diagnosis import condition_names
from tempovla.report.format_text import change_of, solved_at_once
from tempovla.report.measured_tables import compared_lines, measured_lines
from tempovla.report.open_loop import open_loop_lines
from tempovla.report.predictions import prediction_lines
from tempovla.timeline.arguments import with_noun

NARROW = 48
"""Characters of an instruction in a table."""
_SUCCESS_HEAD = "    A     B  B - A [95%] points     only A  only B  p"
_RETURN_HEAD = f" {'A':>8}  {'B':>8}  {'B - A [95%]':<26}  pairs  p"
OFFLINE_FIGURES = ("mse", "mse_normalized", "mse_relative")


def success_table(results: Mapping[str, Any]) -> list[str]:
    """Return the success of every task, with its 95% interval, and of the baselines where there are.

    A note says how many episodes were solved at once, if there are any.
    """
    rows = {**results["tasks"], "mean": results["mean"]}
    width = max(map(len, rows))
    lines = []
    for name, block in rows.items():
        low, high = block["ci95"]
        line = f"{name:<{width}}  {block['success']:>4.0%}  [{low:.0%}, {high:.0%}] of {block['episodes']}"
        others = [f"{key.replace('_', ' ')} {block[key]:.0%}" for key in ("blind", "wrong_instruction") if key in block]
        lines.append(", ".join([line, *others]))
    if results["mean"].get("solved_at_once"):
        counts = {name: block.get("solved_at_once", 0) for name, block in results["tasks"].items()}
        lines.append(f"note: {solved_at_once(counts, results['mean']['episodes'])}")
    return lines


def score_table(results: Mapping[str, Any]) -> list[str]:
    """Return the score of every task with its 95% interval: the mean return where results.json says so, or success; and
    what the simulator measured beside it.
    """
    scores = return_table(results) if results.get("score") == "return" else success_table(results)
    return [*scores, *measured_lines(results)]


def return_table(results: Mapping[str, Any]) -> list[str]:
    """Return the mean return of every task, with its 95% interval."""
    rows = {**results["tasks"], "mean": results["mean"]}
    width = max(map(len, rows))
    lines = ["mean return:"]
    for name, block in rows.items():
        interval = block["return_ci95"]
        certainty = "no interval" if interval is None else f"[{interval[0]:.1f}, {interval[1]:.1f}]"
        lines.append(f"{name:<{width}}  {block['return']:>8.1f}  {certainty} of {block['episodes']}")
    return lines


def attempts_table(results: dict[str, Any]) -> list[str]:
    """Return the success of the expert's attempts with its 95% interval, and how long the successful ones were."""
    rows = {**results["tasks"], "all": results["mean"]}
    width = max(map(len, rows))
    lines = ["the expert's attempts:"]
    for name, block in rows.items():
        low, high = block["ci95"]
        length = "" if block["mean_steps"] is None else f", {block['mean_steps']:.0f} steps"
        lines.append(
            f"{name:<{width}}  {block['success']:>4.0%}  [{low:.0%}, {high:.0%}] of {block['episodes']}{length}"
        )
    return lines


def offline_table(figures: Mapping[str, Any]) -> list[str]:
    """Return errors of a policy's actions against demonstrations, by dimension, and those of its predictions and of a
    car's trajectories.
    """
    predicted = prediction_lines(figures) if "predictions" in figures else []
    if "dimensions" not in figures:
        return predicted
    driven = ["", *open_loop_lines(figures["open_loop"])] if "open_loop" in figures else []
    return [*_action_lines(figures), *driven, *([""] if predicted else []), *predicted]


def _action_lines(figures: Mapping[str, Any]) -> list[str]:
    rows = [*figures["dimensions"].items(), *([("motion", figures["motion"])] if "motion" in figures else [])]
    rows.append(("mean", figures))
    width = max(len(name) for name, _ in rows)
    held_out = "held-out " if figures["split"] == "validation" else ""
    seen = f"{with_noun(figures['steps'], 'step')} of {with_noun(figures['samples'], 'chunk')}"
    lines = [f"{seen}, {with_noun(figures['episodes'], f'{held_out}episode')}"]
    lines.append("relative: 1 is the error of always giving the mean action, and less is better")
    lines.append(f"{'':<{width}}         MSE  normalised    relative")
    lines += [f"{name:<{width}}" + "".join(_cell(row[key]) for key in OFFLINE_FIGURES) for name, row in rows]
    if "gripper_accuracy" in figures:
        lines.append(f"gripper accuracy {figures['gripper_accuracy']:.1%}; motion is everything except the gripper")
    return lines


def _cell(figure: float | None) -> str:
    return f"  {'-':>10}" if figure is None else f"  {figure:>10.6f}"


def comparison_table(comparison: Mapping[str, Any]) -> list[str]:
    """Return two evaluations side by side, by task, with the verdict."""
    rows = comparison["tasks"] | {"all": comparison["all"]}
    width = max(map(len, rows))
    is_return = comparison.get("score") == "return"
    compared, head = (_compared_return, _RETURN_HEAD) if is_return else (_compared, _SUCCESS_HEAD)
    lines = [f"A: {comparison['a']}", f"B: {comparison['b']}", f"{'':<{width}} {head}"]
    lines += [f"{name:<{width}}  {compared(row)}" for name, row in rows.items()]
    notes = [f"note: {remark}" for remark in comparison["remarks"]]
    return [*lines, *notes, comparison["verdict"], *compared_lines(comparison)]


def _compared(row: Mapping[str, Any]) -> str:
    low, high = row["ci95"]
    difference = f"{100 * row['difference']:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]"
    counts = f"{row['only_a']:>6}  {row['only_b']:>6}  {row['p_value']:.2g}"
    return f"{row['a']:>4.0%}  {row['b']:>4.0%}  {difference:<22} {counts}"


def _compared_return(row: Mapping[str, Any]) -> str:
    interval = "no interval" if row["ci95"] is None else f"[{row['ci95'][0]:+.1f}, {row['ci95'][1]:+.1f}]"
    difference = f"{row['difference']:+.1f} {interval}"
    return f"{row['a']:>8.1f}  {row['b']:>8.1f}  {difference:<26}  {row['pairs']:>5}  {row['p_value']:.2g}"


def diagnosis_table(found: Mapping[str, Any]) -> list[str]:
    """Return the results of a diagnosis, on one screen."""
    dataset, conditions = found["dataset"], found["conditions"]
    known = "" if dataset["held_out"] is None else f" ({dataset['held_out']} held out in training)"
    every = "per control step" if found["stride"] == 1 else f"every {found['stride']} control steps"
    decisions, episodes = with_noun(found["decisions"], "decision"), with_noun(len(dataset["episodes"]), "episode")
    lines = [
        f"{decisions} of {episodes}{known}, one {every}",
        "mean absolute error of what is executed, normalised",
    ]
    full = conditions["full"]["error"]
    rows = [(condition_names(found)[name], block) for name, block in conditions.items()]
    if found["context"]:
        rows += [(_seen(block["frames"], found["longest"]), block) for block in found["lengths"]]
    rows.append(("the mean action", found["mean_action"]))
    width = max(len(name) for name, _ in rows)
    against = "     against full context [95%]" if found["context"] else ""
    lines.append(f"{'':<{width}}   error  [95% interval]{against}")
    lines += [_row(name, width, block, full) for name, block in rows]
    if not found["context"]:
        lines.append("a policy without a context sees one frame, so there are no lengths to compare")
    if len(found["tasks"]) > 1:
        lines += ["", *_tasks(found["tasks"])]
    lines += ["", _copycat(found["copycat"]), *found["verdict"]]
    return lines


def _seen(frames: int, longest: int) -> str:
    return "all frames" if frames == longest else f"last {frames} frame{'s' * (frames > 1)}"


def _row(name: str, width: int, block: Mapping[str, Any], full: float) -> str:
    low, high = block["ci95"]
    line = f"{name:<{width}}  {block['error']:.4f}  [{low:.4f}, {high:.4f}]"
    return line if "difference" not in block else f"{line}  {change_of(block, full)}"


def _tasks(tasks: Mapping[str, Any]) -> list[str]:
    names = list(next(iter(tasks.values()))["conditions"])
    shown = [task if len(task) <= NARROW else f"{task[: NARROW - 3]}..." for task in tasks]
    width = max(map(len, shown))
    lines = [f"{'error by instruction':<{width}}  {'  '.join(f'{name:>8}' for name in names)}  episodes"]
    for task, block in zip(shown, tasks.values(), strict=True):
        errors = "  ".join(f"{block['conditions'][name]['error']:>8.4f}" for name in names)
        lines.append(f"{task:<{width}}  {errors}  {block['episodes']:>8}")
    return lines


def _copycat(block: Mapping[str, Any]) -> str:
    parts = []
    for name, words in (("expert_r2", "expert"), ("policy_r2", "policy"), ("excess", "excess")):
        value, interval = block[name]["value"], block[name]["ci95"]
        told = "unknown" if value is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
        parts.append(f"{words} {told}")
    return f"R^2 of the next action predicted from the last alone: {', '.join(parts)}"
