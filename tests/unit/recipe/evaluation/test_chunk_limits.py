"""How far actions of a chunk reach in a simulator that limits it, as the memory benchmark does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("gymnasium")

from tempovla.env.memory import MemoryConfig
from tempovla.recipe.evaluation import closed_loop
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.timeline import Window

ACTOR = SimpleNamespace(windows=(Window("action", tuple(range(8))),), frame_stride=None)


def test_a_mean_of_chunks_carries_a_cue_as_far_as_a_whole_chunk():
    config = MemoryConfig(delay_steps=5)
    alone, averaged = EvaluationConfig(execution_horizon=2), EvaluationConfig(temporal_ensemble=0.1)
    assert closed_loop._execution_horizon(ACTOR, config, alone) == 2
    with pytest.raises(ValueError, match=r"execution_horizon=8 is more than delay_steps \+ 1 = 6"):
        closed_loop._execution_horizon(ACTOR, config, averaged)
    assert closed_loop._execution_horizon(ACTOR, MemoryConfig(delay_steps=7), averaged) == 1
