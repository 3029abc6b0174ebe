"""Simulators whose instruction changes within an episode, and that measure more than success."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from tests.in_process import simulators_in_process
from tests.listening import Listener
from tests.toy_simulator import WAITING, GuidedConfig, LineConfig

from tempovla.data.lerobot import open_dataset
from tempovla.env.checks import check_simulator
from tempovla.env.protocol import figures_of
from tempovla.env.vector import ShardedVectorEnv
from tempovla.rollout.evaluate import EvaluationConfig, mean_figures, run_specs
from tempovla.rollout.recorder import RolloutRecorder
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec

SPECS = [EpisodeSpec(task, seed, init_state=0) for seed in range(2) for task in ("left", "right")]


def run(policy: Listener, specs: list[EpisodeSpec], config: GuidedConfig, **settings) -> list[EpisodeResult]:
    with simulators_in_process():
        return run_specs(policy.controller(), specs, config, EvaluationConfig(num_envs=3, workers=2, **settings))


def test_a_policy_hears_the_instruction_of_every_step():
    policy = Listener()
    results = run(policy, SPECS, GuidedConfig(max_steps=30))
    assert all(result.success for result in results)
    assert [result.instruction for result in results] == ["wait"] * 4
    assert [result.figures["hasty"] for result in results] == [0.0] * 4
    assert [words[0] for words in policy.told[: WAITING + 1]] == ["wait"] * WAITING + ["go left"]


def test_a_policy_with_a_history_hears_it_in_the_middle_of_a_chunk_at_its_next_decision():
    for history in ((0,), (-1, 0)):
        policy = Listener(horizon=2, history=history)
        run(policy, SPECS[:1], GuidedConfig(max_steps=30), execution_horizon=2)
        assert [words[0] for words in policy.told[:3]] == ["wait", "wait", "go left"]


def test_an_instruction_of_the_episode_is_kept_whatever_the_simulator_says():
    policy = Listener()
    told = [replace(spec, instruction="go right") for spec in SPECS]
    results = run(policy, told, GuidedConfig(max_steps=30))
    assert [result.success for result in results] == [False, True, False, True]
    assert {words for row in policy.told for words in row} == {"go right"}
    assert all(result.figures["hasty"] == WAITING for result in results)


def test_a_guide_that_is_wrong_leads_astray():
    results = run(Listener(), SPECS, GuidedConfig(max_steps=30, wrong_commands=True))
    assert not any(result.success for result in results)


def test_a_recording_keeps_the_words_of_every_step(tmp_path):
    specs = [EpisodeSpec("left", 0, record=True), EpisodeSpec("right", 1, instruction="go right", record=True)]
    with RolloutRecorder(tmp_path / "data", GuidedConfig.embodiment) as recorder:
        for result in run(Listener(), specs, GuidedConfig(max_steps=6, terminate_on_success=False)):
            recorder.add(result)
    dataset = open_dataset(tmp_path / "data")
    words = [[*dataset.instructions(episode)] for episode in range(2)]
    assert words == [["wait"] * WAITING + ["go left"] * 3, ["go right"] * 6]


def test_the_vector_environment_says_what_its_environments_say_and_measured():
    with simulators_in_process():
        env = ShardedVectorEnv(GuidedConfig(max_steps=4, terminate_on_success=False), 2, 2)
        _, info = env.reset(seed=0, options={"task": ["left", "right"]})
        assert list(info["instruction"]) == ["wait", "wait"]
        chunk = np.full((2, 3, 2), 0.5)
        result = env.step_chunk(chunk, np.array([[True, True, False], [True, True, True]]), record=[1])
        assert result.instructions == ("wait", "go right")
        assert result.step_instructions == {1: ("wait", "wait", "go right")}
        assert result.figures == ({}, {})
        result = env.step_chunk(chunk)
        assert result.figures[1] == {"hasty": 3.0, "moved": pytest.approx(0.4)}
        env.close()


def test_simulators_that_guide_keep_the_rules():
    check_simulator(GuidedConfig())


def test_a_figure_that_is_not_finite_is_refused():
    env = GuidedConfig().make()
    env.reset(seed=0)
    env.hand = float("nan")
    with pytest.raises(ValueError, match=r"Guided line: figures\(\)\['moved'\] is nan; give a finite number"):
        figures_of(env)
    assert figures_of(LineConfig().make()) == {}


def test_means_count_every_task_alike():
    results = [
        EpisodeResult(EpisodeSpec(task, seed), "", True, 1, 0.0, figures={"far": value, "odd": 1.0} if value else {})
        for task, seed, value in (("left", 0, 1.0), ("left", 1, 2.0), ("left", 2, 3.0), ("right", 0, 8.0))
    ]
    figure = mean_figures(results)["far"]
    assert (figure.mean, figure.episodes) == (5.0, 4)
    low, high = figure.interval
    assert 4.5 <= low < 5.0 < high <= 5.5
    assert mean_figures([*results, EpisodeResult(EpisodeSpec("up", 0), "", True, 1, 0.0)]) == {}
