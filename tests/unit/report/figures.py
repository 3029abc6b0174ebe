"""Figures as evaluations without a simulator write them."""

from __future__ import annotations

OFFLINE = {
    "checkpoint": "run/checkpoint_best",
    "split": "validation",
    "episodes": 5,
    "samples": 100,
    "steps": 1400,
    "dimensions": {
        "x [m]": {"mse": 0.0004, "mse_normalized": 0.2, "mse_relative": 0.25},
        "still": {"mse": 0.01, "mse_normalized": 0.1, "mse_relative": None},
        "grip": {"mse": 1.44, "mse_normalized": 1.44, "mse_relative": 1.44},
    },
    "mse": 0.48,
    "mse_normalized": 0.58,
    "mse_relative": 0.845,
    "gripper_accuracy": 0.64,
}


def block(error: float, difference: float | None = None) -> dict:
    figures = {"error": error, "ci95": [error - 0.02, error + 0.02]}
    if difference is None:
        return figures
    return figures | {"difference": difference, "difference_ci95": [difference - 0.01, difference + 0.01]}


def found(context: bool = True) -> dict:
    conditions = {"full": block(0.2)}
    if context:
        conditions |= {"shuffled": block(0.25, 0.05), "removed": block(0.3, 0.1), "another": block(0.28, 0.08)}
    tasks = ["touch <it>", "let go"] if context else ["let go"]
    lengths = [{"frames": 1} | block(0.3, 0.1), {"frames": 2} | block(0.2, 0.0)]
    r2 = {"expert_r2": 0.61, "policy_r2": 0.73, "excess": 0.12}
    return {
        "title": "Does history help vla?",
        "checkpoint": "run/checkpoint",
        "checkpoint_sha256": "0123456789abcdef" * 4,
        "dataset": {"name": "data", "episodes": [0, 1], "held_out": 1, "recording": {}},
        "context": context,
        "stride": 4,
        "seed": 0,
        "resamples": 1000,
        "decisions": 1234,
        "steps": 4000,
        "longest": 2,
        "conditions": conditions,
        "mean_action": block(0.4321, 0.2321),
        "lengths": lengths if context else lengths[1:],
        "tasks": {task: {"episodes": 1, "conditions": conditions} for task in tasks},
        "copycat": {name: {"value": value, "ci95": [value - 0.05, value + 0.05]} for name, value in r2.items()}
        | {"decisions": 1200, "folds": 2, "ridge": 0.001},
        "verdict": ["The policy uses its past.", "No sign of copying (R^2)."],
        "device": "cpu",
        "versions": {"tempovla": "0"},
        "command": "tempovla diagnose memory",
    }
