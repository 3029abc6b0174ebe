"""Lines in a log about work that is under way."""

from __future__ import annotations

import logging

from tempovla.recipe.evaluation.progress import EvaluationProgress
from tempovla.recipe.progress import CountProgress
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec


def test_a_log_has_a_line_for_every_episode(caplog):
    caplog.set_level(logging.INFO, "tempovla")
    with EvaluationProgress(2) as progress:
        progress.add(EpisodeResult(EpisodeSpec("push", 5), "", True, 31, 0.0))
        progress.add(EpisodeResult(EpisodeSpec("push", 6, init_state=1), "", False, 40, 0.0))
    assert caplog.messages == [
        "1 of 2: push, seed 5: success after 31 steps",
        "2 of 2: push, initial state 1, seed 6: failure after 40 steps",
    ]
    assert (progress.done, progress.solved) == (2, 1)


def test_the_line_of_a_failure_says_why_where_the_simulator_measured_it(caplog):
    caplog.set_level(logging.INFO, "tempovla")
    figures = {"completion": 0.5, "off_road": 1.0, "timeout": 0.0}
    with EvaluationProgress(1) as progress:
        progress.add(EpisodeResult(EpisodeSpec("day", 5), "", False, 9, 0.0, figures=figures))
    assert caplog.messages == ["1 of 1: day, seed 5: failure (off road) after 9 steps"]


def test_a_log_has_a_line_at_the_end_and_says_how_far_an_earlier_call_came(caplog):
    caplog.set_level(logging.INFO, "tempovla")
    with CountProgress("samples", 9, done=2) as progress:
        for _ in range(2):
            progress.advance(3)
        progress.advance(now="push")
    assert caplog.messages == ["9 of 9 samples, the last of push"]
