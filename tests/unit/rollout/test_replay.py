"""Episodes played again without the policy are the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.in_process import simulators_in_process
from tests.unit.rollout.scripted import ScriptedPolicy

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.metaworld import MetaWorldConfig  # noqa: E402
from tempovla.rollout.evaluate import EvaluationConfig, run_specs  # noqa: E402
from tempovla.rollout.replay import replay  # noqa: E402
from tempovla.rollout.runner import EpisodeSpec  # noqa: E402

BLIND = MetaWorldConfig(render=False, max_steps=20)
SPECS = [EpisodeSpec("reach-v3", 5), EpisodeSpec("push-v3", 6), EpisodeSpec("push-v3", 7)]


def test_a_replay_is_the_recording_that_was_not_made():
    config = EvaluationConfig(num_envs=3, workers=2)
    controller = ScriptedPolicy().controller()
    with simulators_in_process():
        recorded = run_specs(controller, [replace(spec, record=True) for spec in SPECS], BLIND, config)
        plain = run_specs(controller, SPECS, BLIND, config)
        assert all(result.recording is None for result in plain)
        again = list(replay(plain, BLIND, workers=2))
    assert [result.spec for result in again] == SPECS
    for ours, expected in zip(again, recorded, strict=True):
        assert (ours.success, ours.steps) == (expected.success, expected.steps)
        for key, value in expected.recording.items():
            np.testing.assert_array_equal(ours.recording[key], value)
        for key, value in expected.final.items():
            np.testing.assert_array_equal(ours.final[key], value)
