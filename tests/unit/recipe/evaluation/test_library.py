"""The library of an evaluation: that of training serves its own place alone, and results name another one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.policy_cases import CONTEXTS, in_context, remembering, seeded
from tests.tiny import tiny_vla_config

from tempovla.control.controller import Controller
from tempovla.control.library import library_sha256
from tempovla.data.episodic import EpisodicMemory
from tempovla.env.memory import MemoryConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.recipe.evaluation import library as evaluation_library
from tempovla.recipe.evaluation.library import choose_library
from tempovla.timeline import Bundle, Embodiment
from tempovla.timeline.config import config_to_json
from tempovla.transform.pipeline import TransformPipeline

TRAINED = {"simulator": "memory", "house": 4}


def opened(kind: str) -> tuple[Controller, Bundle]:
    model = remembering(**CONTEXTS[kind]) | {"action_dim": 3}
    policy = seeded(lambda: in_context(VLAModel(tiny_vla_config("mlp", **model))))
    body = Embodiment("toy", 3, 3, 10.0)
    bundle = Bundle("vla", config_to_json(policy.config), policy.windows(), body, {}, {}, {"recording": TRAINED})
    return Controller(policy, TransformPipeline([]), bundle), bundle


def test_in_its_own_place_a_policy_keeps_its_library():
    assert choose_library(*with_nothing("retrieval"), MemoryConfig(house=4)) == {}


def with_nothing(kind: str) -> tuple[Controller, None, Bundle]:
    actor, bundle = opened(kind)
    return actor, None, bundle


def test_elsewhere_it_needs_another_one():
    message = (
        r"^house=1, but the earlier episodes that the policy knows are of house=4; give library \(--library\) with"
    )
    with pytest.raises(ValueError, match=message):
        choose_library(*with_nothing("retrieval"), MemoryConfig(house=1))
    assert choose_library(*with_nothing("lstm"), MemoryConfig(house=1)) == {}  # which looks nothing up


def test_what_is_given_is_held_and_named_in_the_results_and_a_library_of_elsewhere_is_warned_of(
    tmp_path, monkeypatch, caplog
):
    actor, bundle = opened("retrieval")
    part = actor.policy.context.retrieval
    memory = EpisodicMemory(part.feature_dim, part.action_width)
    memory.add_transition(part.features[0, 0], part.actions[0, 0], 0.0, done=True)
    memory.save(tmp_path / "lessons.safetensors")
    said = choose_library(actor, tmp_path / "lessons.safetensors", bundle, MemoryConfig(house=1))
    assert part.valid.sum() == 1
    expected = {"place": str(tmp_path / "lessons.safetensors"), "sha256": library_sha256(actor.policy)}
    assert said == {"library": expected}
    assert not caplog.records
    monkeypatch.setattr("tempovla.control.library.give_library", lambda *_: replace_house(2))
    choose_library(actor, "lessons", bundle, MemoryConfig(house=1))
    assert caplog.records[0].getMessage() == "library lessons is of house=2, but the evaluation is in house=1"


def replace_house(house: int) -> dict:
    return {**TRAINED, "house": house}


def test_only_settings_that_evaluations_may_change_count():
    recording = {"cue_steps": 99, "house": 0}
    assert evaluation_library._other_place(recording, MemoryConfig()) is None
    assert evaluation_library._other_place(recording, replace(MemoryConfig(), house=3)) == ("house", 0, 3)
